// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for libvfio: the 82576 virtual function as a device that copies
 * memory. It sends frames to its own address, which its PF's switch returns.
 *
 * A copy is one frame: HEAD bytes of ours, then the bytes to be copied, taken
 * from where they are. Receive buffers are of 1 KiB, so the head fills the
 * first HEAD_BUFFERS of them, and what follows lands where it is to go.
 *
 * Receive descriptors are there only while copies are under way, and only for
 * these, so nothing of what others send is written at any other time. If
 * another frame comes in between (a broadcast, say), it fits into the head's
 * buffers; the copies are then made once more.
 *
 * Registers in pages 0 and 1 are never accessed through a mapping:
 * igbvf-vfio-pci would hand them out, but would not migrate such a device.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/pci_ids.h>
#include <linux/pci_regs.h>

#include <libvfio.h>

#include "driver/igbvf/regs.h"

#define DEVICE_ID	0x10ca

#define RX_BASE		IGBVF_RX_BASE(0)
#define TX_BASE		IGBVF_TX_BASE(0)
#define Q_BAL		0x00
#define Q_BAH		0x04
#define Q_LEN		0x08
#define Q_SRRCTL	0x0c
#define  SRRCTL_DROP	BIT(31)
#define  SRRCTL_ADV	BIT(25)
#define Q_HEAD		0x10
#define Q_TAIL		0x18
#define Q_DCTL		0x28

#define MSG_RESET	0x01
#define MSG_SET_MAC	0x02
#define MSG_SET_LPE	0x05
#define MSG_ACK		BIT(31)
#define MSG_NACK	BIT(30)
#define MSG_TYPE	GENMASK(15, 0)

/*
 * Raised by software only. What queues raise goes to the other two, and must:
 * QEMU's igb keeps the routing that earlier owners have set up.
 */
#define MSI_VECTOR	2

#define RX_BUFFER	1024
#define HEAD_BUFFERS	2
#define HEAD		(HEAD_BUFFERS * RX_BUFFER)
#define MAX_SIZE	4096
#define MAX_BUFFERS	(HEAD_BUFFERS + MAX_SIZE / RX_BUFFER)
#define MAX_COUNT	1024
#define RX_RING		8192
#define TX_RING		4096
#define ETHERTYPE	0x88b5		/* for experiments */
#define CRC		4
#define TRIES		10

#define RX_DONE		BIT_ULL(0)	/* of q[1] */
#define RX_EOP		BIT_ULL(1)
#define RX_ERRORS	GENMASK_ULL(31, 20)
#define RX_LENGTH(q1)	((q1) >> 32 & 0xffff)
#define TX_DONE		BIT_ULL(32)	/* of q[1] */
#define TX_DATA		0x22300000	/* advanced data descriptor, with CRC */
#define TX_EOP		BIT(24)
#define TX_REPORT	BIT(27)
#define TX_TOTAL(len)	((u64)(len) << 46)

struct igbvf_desc {
	u64 q[2];
};

struct igbvf_state {
	struct igbvf_desc rx[RX_RING];
	struct igbvf_desc tx[TX_RING];
	u8 head_out[HEAD];
	u8 head_in[HEAD];

	/* Where the next descriptors go. */
	unsigned int rx_next;
	unsigned int tx_next;

	/* The copies under way, and the first descriptor that is theirs. */
	unsigned int rx_first;
	iova_t src;
	iova_t dst;
	u64 size;
	u64 count;
};

static_assert(MAX_COUNT * MAX_BUFFERS < RX_RING, "receive ring too small");
static_assert(MAX_COUNT * 2 < TX_RING, "transmit ring too small");

static struct igbvf_state *to_igbvf_state(struct vfio_pci_device *device)
{
	return device->driver.region.vaddr;
}

/* Where a register is mapped, if it is and may be. */
static void *igbvf_mapped(struct vfio_pci_device *device, u32 offset)
{
	void *bar = device->bars[IGBVF_BAR].vaddr;

	return bar && offset >= IGBVF_QUEUES ? bar + offset : NULL;
}

static u32 igbvf_read(struct vfio_pci_device *device, u32 offset)
{
	void *reg = igbvf_mapped(device, offset);
	u64 at = device->bars[IGBVF_BAR].info.offset + offset;
	u32 value;

	if (reg)
		return readl(reg);
	VFIO_ASSERT_EQ(pread(device->fd, &value, sizeof(value), at), 4);
	return value;
}

static void igbvf_write(struct vfio_pci_device *device, u32 offset, u32 value)
{
	void *reg = igbvf_mapped(device, offset);
	u64 at = device->bars[IGBVF_BAR].info.offset + offset;

	/* Descriptors before doorbells. */
	__sync_synchronize();
	if (reg)
		writel(value, reg);
	else
		VFIO_ASSERT_EQ(pwrite(device->fd, &value, sizeof(value), at), 4);
}

static u64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* Bits of V2PMAILBOX, all of which a read clears: collected in @seen. */
static void igbvf_mailbox_wait(struct vfio_pci_device *device, u32 *seen,
			       u32 bits)
{
	u64 end = now_ms() + 2000;

	while (!(*seen & bits)) {
		*seen |= igbvf_read(device, IGBVF_V2PMAILBOX);
		if (*seen & bits)
			break;
		VFIO_ASSERT_LT(now_ms(), end, "No answer by the PF. Is its link up?\n");
		usleep(1000);
	}
}

/* The first words of the PF's answer take the place of the message. */
static void igbvf_mailbox_call(struct vfio_pci_device *device, u32 *message,
			       unsigned int words)
{
	unsigned int i;
	u32 seen = 0;

	for (i = 0; i < 100; i++) {
		igbvf_write(device, IGBVF_V2PMAILBOX, IGBVF_V2P_VFU);
		if (igbvf_read(device, IGBVF_V2PMAILBOX) & IGBVF_V2P_VFU)
			break;
		usleep(1000);
	}
	VFIO_ASSERT_LT(i, 100, "The mailbox cannot be had.\n");

	for (i = 0; i < words; i++)
		igbvf_write(device, IGBVF_VMBMEM + 4 * i, message[i]);
	igbvf_write(device, IGBVF_V2PMAILBOX, IGBVF_V2P_REQ);
	igbvf_mailbox_wait(device, &seen, IGBVF_V2P_PFACK);
	igbvf_mailbox_wait(device, &seen, IGBVF_V2P_PFSTS);
	for (i = 0; i < words; i++)
		message[i] = igbvf_read(device, IGBVF_VMBMEM + 4 * i);
	igbvf_write(device, IGBVF_V2PMAILBOX, IGBVF_V2P_ACK);
}

static void igbvf_ask(struct vfio_pci_device *device, u32 *message,
		      unsigned int words)
{
	u32 type = message[0] & MSG_TYPE;

	igbvf_mailbox_call(device, message, words);
	VFIO_ASSERT_EQ(message[0] & (MSG_ACK | MSG_NACK | MSG_TYPE),
		       MSG_ACK | type, "The PF refuses message %u.\n", type);
}

/* Say hello to the PF, and learn or choose the address to send to. */
static void igbvf_greet(struct vfio_pci_device *device, u8 *mac)
{
	u32 reset[3] = { MSG_RESET };
	u32 set_mac[3] = { MSG_SET_MAC };
	u32 set_lpe[2] = { MSG_SET_LPE, HEAD + MAX_SIZE + CRC };
	unsigned int domain, bus, slot, function;
	int fields;

	igbvf_mailbox_call(device, reset, ARRAY_SIZE(reset));
	VFIO_ASSERT_EQ(reset[0] & MSG_TYPE, MSG_RESET);
	if (reset[0] & MSG_ACK) {
		memcpy(mac, &reset[1], 6);
	} else {
		/* No address, as the administrator has not set one. */
		fields = sscanf(device->bdf, "%x:%x:%x.%x", &domain, &bus,
				&slot, &function);
		VFIO_ASSERT_EQ(fields, 4);
		mac[0] = 0x02;
		mac[1] = 'v';
		mac[2] = 'f';
		mac[3] = domain;
		mac[4] = bus;
		mac[5] = slot << 3 | function;
		memcpy(&set_mac[1], mac, 6);
		igbvf_ask(device, set_mac, ARRAY_SIZE(set_mac));
	}
	igbvf_ask(device, set_lpe, ARRAY_SIZE(set_lpe));
}

static void igbvf_queue_set(struct vfio_pci_device *device, u32 base,
			    struct igbvf_desc *ring, unsigned int entries)
{
	iova_t iova = to_iova(device, ring);

	igbvf_write(device, base + Q_BAL, (u32)iova);
	igbvf_write(device, base + Q_BAH, iova >> 32);
	igbvf_write(device, base + Q_LEN, entries * sizeof(*ring));
}

static void igbvf_queue_enable(struct vfio_pci_device *device, u32 base,
			       u32 dctl)
{
	unsigned int i;

	igbvf_write(device, base + Q_DCTL, dctl | IGBVF_DCTL_ENABLE);
	for (i = 0; i < 100; i++) {
		if (igbvf_read(device, base + Q_DCTL) & IGBVF_DCTL_ENABLE)
			return;
		usleep(1000);
	}
	VFIO_FAIL("The queue at %#x does not start.\n", base);
}

static void igbvf_queues_start(struct vfio_pci_device *device)
{
	struct igbvf_state *state = to_igbvf_state(device);

	igbvf_write(device, RX_BASE + Q_DCTL, 0);
	igbvf_write(device, TX_BASE + Q_DCTL, 0);

	igbvf_queue_set(device, RX_BASE, state->rx, RX_RING);
	igbvf_write(device, RX_BASE + Q_SRRCTL,
		    SRRCTL_DROP | SRRCTL_ADV | RX_BUFFER / 1024);
	igbvf_write(device, RX_BASE + Q_HEAD, 0);
	igbvf_write(device, RX_BASE + Q_TAIL, 0);
	igbvf_queue_set(device, TX_BASE, state->tx, TX_RING);
	igbvf_write(device, TX_BASE + Q_HEAD, 0);
	igbvf_write(device, TX_BASE + Q_TAIL, 0);

	igbvf_queue_enable(device, TX_BASE, 0);
	igbvf_queue_enable(device, RX_BASE, IGBVF_RXDCTL_RESET);
	state->rx_next = 0;
	state->tx_next = 0;
}

static void igbvf_interrupts_start(struct vfio_pci_device *device)
{
	unsigned int i;

	igbvf_write(device, IGBVF_EIMC, IGBVF_VECTOR_MASK);
	for (i = 0; i < IGBVF_VECTORS; i++)
		igbvf_write(device, IGBVF_EITR(i), 0);
	igbvf_write(device, IGBVF_IVAR_MISC, 0);
	igbvf_write(device, IGBVF_EIAM, 0);
	igbvf_write(device, IGBVF_EIAC, BIT(MSI_VECTOR));
	igbvf_write(device, IGBVF_EICR, IGBVF_VECTOR_MASK);
	igbvf_write(device, IGBVF_EIMS, BIT(MSI_VECTOR));
}

/* A function in any state becomes one that is ready to copy. */
static void igbvf_start(struct vfio_pci_device *device)
{
	struct igbvf_state *state = to_igbvf_state(device);
	u8 *frame = state->head_out;

	vfio_pci_device_reset(device);
	vfio_pci_config_writew(device, PCI_COMMAND,
			       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			       PCI_COMMAND_INTX_DISABLE);

	igbvf_greet(device, frame + 6);
	memcpy(frame, frame + 6, 6);
	frame[12] = ETHERTYPE >> 8;
	frame[13] = ETHERTYPE & 0xff;

	igbvf_interrupts_start(device);
	igbvf_queues_start(device);
}

static int igbvf_probe(struct vfio_pci_device *device)
{
	if (!vfio_pci_device_match(device, PCI_VENDOR_ID_INTEL, DEVICE_ID))
		return -EINVAL;
	return 0;
}

static void igbvf_init(struct vfio_pci_device *device)
{
	VFIO_ASSERT_GE(device->driver.region.size, sizeof(struct igbvf_state));

	vfio_pci_msix_enable(device, MSI_VECTOR, 1);
	igbvf_start(device);

	device->driver.max_memcpy_size = MAX_SIZE;
	device->driver.max_memcpy_count = MAX_COUNT;
	device->driver.msi = MSI_VECTOR;
}

static void igbvf_remove(struct vfio_pci_device *device)
{
	vfio_pci_device_reset(device);
	vfio_pci_msix_disable(device);
}

static unsigned int igbvf_buffers(u64 size)
{
	return HEAD_BUFFERS + DIV_ROUND_UP(size, RX_BUFFER);
}

static void igbvf_rx_post(struct igbvf_state *state, iova_t buffer)
{
	state->rx[state->rx_next] = (struct igbvf_desc) { .q[0] = buffer };
	state->rx_next = (state->rx_next + 1) % RX_RING;
}

static void igbvf_tx_post(struct igbvf_state *state, iova_t buffer, u64 flags)
{
	state->tx[state->tx_next] = (struct igbvf_desc) {
		.q[0] = buffer,
		.q[1] = TX_TOTAL(HEAD + state->size) | TX_DATA | flags,
	};
	state->tx_next = (state->tx_next + 1) % TX_RING;
}

static void igbvf_post(struct vfio_pci_device *device)
{
	struct igbvf_state *state = to_igbvf_state(device);
	unsigned int buffers = igbvf_buffers(state->size);
	iova_t head_in = to_iova(device, state->head_in);
	iova_t head_out = to_iova(device, state->head_out);
	u64 flags = TX_EOP | state->size;
	unsigned int i, n;

	state->rx_first = state->rx_next;
	for (n = 0; n < state->count; n++) {
		for (i = 0; i < HEAD_BUFFERS; i++)
			igbvf_rx_post(state, head_in + i * RX_BUFFER);
		for (; i < buffers; i++)
			igbvf_rx_post(state, state->dst +
				      (i - HEAD_BUFFERS) * RX_BUFFER);

		igbvf_tx_post(state, head_out, HEAD);
		if (n == state->count - 1)
			flags |= TX_REPORT;
		igbvf_tx_post(state, state->src, flags);
	}
	igbvf_write(device, RX_BASE + Q_TAIL, state->rx_next);
	igbvf_write(device, TX_BASE + Q_TAIL, state->tx_next);
}

static void igbvf_memcpy_start(struct vfio_pci_device *device,
			       iova_t src, iova_t dst, u64 size, u64 count)
{
	struct igbvf_state *state = to_igbvf_state(device);

	VFIO_ASSERT_GT(size, 0);
	state->src = src;
	state->dst = dst;
	state->size = size;
	state->count = count;
	igbvf_post(device);
}

/*
 * Wait until all has been received, or until nothing more will be: what the
 * switch returns comes right after what has been sent.
 */
static void igbvf_settle(struct igbvf_state *state)
{
	unsigned int rx = (state->rx_next + RX_RING - 1) % RX_RING;
	unsigned int tx = (state->tx_next + TX_RING - 1) % TX_RING;
	u64 end = now_ms() + 10000;
	bool sent = false;

	while (!(READ_ONCE(state->rx[rx].q[1]) & RX_DONE) && now_ms() < end) {
		if (!sent && (READ_ONCE(state->tx[tx].q[1]) & TX_DONE)) {
			sent = true;
			end = now_ms() + 100;
		}
		usleep(100);
	}
}

/*
 * Is what has been received what we have sent? 0; -EAGAIN: something else came
 * in between; -EIO.
 */
static int igbvf_judge(struct vfio_pci_device *device)
{
	struct igbvf_state *state = to_igbvf_state(device);
	unsigned int buffers = igbvf_buffers(state->size);
	unsigned int last = state->size - (buffers - HEAD_BUFFERS - 1) * RX_BUFFER;
	unsigned int i;
	u64 q1;

	for (i = 0; i < state->count * buffers; i++) {
		bool eop = i % buffers == buffers - 1;

		q1 = READ_ONCE(state->rx[(state->rx_first + i) % RX_RING].q[1]);
		if (!(q1 & RX_DONE) || (q1 & RX_ERRORS)) {
			dev_err(device, "Receive descriptor %u of %lu: %#lx\n",
				i, state->count * buffers, q1);
			return -EIO;
		}
		if (!!(q1 & RX_EOP) != eop ||
		    RX_LENGTH(q1) != (eop ? last : RX_BUFFER))
			return -EAGAIN;
	}
	return 0;
}

static int igbvf_memcpy_wait(struct vfio_pci_device *device)
{
	struct igbvf_state *state = to_igbvf_state(device);
	int tries = TRIES, ret;

	for (;;) {
		igbvf_settle(state);
		ret = igbvf_judge(device);
		if (!ret)
			return 0;

		/* Nothing may be left that waits for a frame. */
		igbvf_start(device);
		if (ret != -EAGAIN || !--tries)
			break;
		dev_info(device, "A foreign frame came in between, copying again\n");
		igbvf_post(device);
	}
	return ret;
}

static void igbvf_send_msi(struct vfio_pci_device *device)
{
	igbvf_write(device, IGBVF_EICR, BIT(MSI_VECTOR));
	igbvf_write(device, IGBVF_EICS, BIT(MSI_VECTOR));
}

static const struct vfio_pci_driver_ops igbvf_ops = {
	.name = "igbvf",
	.probe = igbvf_probe,
	.init = igbvf_init,
	.remove = igbvf_remove,
	.memcpy_start = igbvf_memcpy_start,
	.memcpy_wait = igbvf_memcpy_wait,
	.send_msi = igbvf_send_msi,
};

/*
 * libvfio's table of drivers cannot be added to. The linker puts this in place
 * of its vfio_pci_driver_probe() (--wrap).
 */
void __real_vfio_pci_driver_probe(struct vfio_pci_device *device);
void __wrap_vfio_pci_driver_probe(struct vfio_pci_device *device);

void __wrap_vfio_pci_driver_probe(struct vfio_pci_device *device)
{
	__real_vfio_pci_driver_probe(device);
	if (!device->driver.ops && !igbvf_ops.probe(device))
		device->driver.ops = &igbvf_ops;
}
