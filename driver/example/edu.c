// SPDX-License-Identifier: GPL-2.0
/*
 * edu-vfio-pci: a small but complete backend, for QEMU's "edu" device
 * (1234:11e8). Documentation/backend.rst walks through it.
 *
 * The device computes factorials, copies between a buffer of its own and
 * memory, and interrupts. It has what makes real devices hard, too: a register
 * that can be read but not written (the result of a factorial: it is computed
 * again), one that cannot be read (what it was computed from: all accesses are
 * trapped), work that cannot be stopped (a copy: it is waited for), registers
 * that a reset spares (all), and state that cannot be had at all (the buffer:
 * a device whose buffer has been filled is not saved). It can be given a state of
 * any size, too: ballast.c.
 */
#include <linux/iopoll.h>
#include <linux/module.h>

#include "ballast.h"

#define EDU_BAR			0
#define EDU_BAR_SIZE		0x100000

#define EDU_ID			0x00
#define  EDU_ID_VALUE		0x010000ed
#define EDU_LIVE		0x04	/* reads as the complement */
#define EDU_FACTORIAL		0x08	/* W: begin; R: result */
#define EDU_STATUS		0x20
#define  EDU_STATUS_COMPUTING	BIT(0)	/* RO */
#define  EDU_STATUS_IRQ		BIT(7)	/* interrupt when computed */
#define EDU_IRQ			0x24	/* RO: causes */
#define  EDU_IRQ_COMPUTED	BIT(0)
#define EDU_IRQ_RAISE		0x60	/* WO */
#define EDU_IRQ_LOWER		0x64	/* WO */
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define  EDU_DMA_RUN		BIT(0)	/* begin; reads as 1 until done */
#define  EDU_DMA_OUT		BIT(1)	/* from the buffer to memory */
#define  EDU_DMA_IRQ		BIT(2)	/* interrupt when done */

/*
 * 34! and all that follow are 0 modulo 2^32. The device is never told of
 * larger numbers: they would keep it busy for seconds.
 */
#define EDU_OPERAND_MAX		34

/* A copy takes 100 ms. */
#define EDU_POLL_US		1000
#define EDU_TIMEOUT_US		1000000
#define EDU_LATE_US		100000

#define EDU_STATE_VERSION	1
#define EDU_RECORD_REGS		VFIO_MIG_RECORD_BACKEND
#define EDU_RECORD_BALLAST	(VFIO_MIG_RECORD_BACKEND + 1)	/* chunks */

/* A stream with ballast is for a device with ballast. */
#define EDU_FEATURE_BALLAST	BIT(0)

/* The registers that are state. */
enum {
	EDU_REG_LIVE,
	EDU_REG_FACTORIAL,
	EDU_REG_STATUS,
	EDU_REG_IRQ,
	EDU_REG_SRC,
	EDU_REG_DST,
	EDU_REG_COUNT,
	EDU_REG_CMD,
	EDU_REGS,
};

static const u32 edu_offset[EDU_REGS] = {
	[EDU_REG_LIVE]		= EDU_LIVE,
	[EDU_REG_FACTORIAL]	= EDU_FACTORIAL,
	[EDU_REG_STATUS]	= EDU_STATUS,
	[EDU_REG_IRQ]		= EDU_IRQ,
	[EDU_REG_SRC]		= EDU_DMA_SRC,
	[EDU_REG_DST]		= EDU_DMA_DST,
	[EDU_REG_COUNT]		= EDU_DMA_COUNT,
	[EDU_REG_CMD]		= EDU_DMA_CMD,
};

/* The bits that a user can set. */
static const u32 edu_mask[EDU_REGS] = {
	[EDU_REG_LIVE]		= U32_MAX,
	[EDU_REG_FACTORIAL]	= U32_MAX,
	[EDU_REG_STATUS]	= EDU_STATUS_COMPUTING | EDU_STATUS_IRQ,
	[EDU_REG_IRQ]		= U32_MAX,
	[EDU_REG_SRC]		= U32_MAX,
	[EDU_REG_DST]		= U32_MAX,
	[EDU_REG_COUNT]		= U32_MAX,
	[EDU_REG_CMD]		= EDU_DMA_RUN | EDU_DMA_OUT | EDU_DMA_IRQ,
};

/**
 * struct edu_record - the device state in the stream
 * @reg: registers as they read, but for EDU_REG_FACTORIAL: what was, or is to
 *	be, computed from. COMPUTING and RUN: this is still to be begun
 */
struct edu_record {
	__le32 reg[EDU_REGS];
};

/**
 * struct edu - private data of a device
 * @mig: the core's part
 * @io: BAR0
 * @operand: what was last written to EDU_FACTORIAL
 * @cmd: what was last written to EDU_DMA_CMD, without RUN
 * @begun: the user began a factorial, and has not lowered its interrupt since
 * @filled: something was copied into the buffer
 * @quiet: registers as the user should see them while the device is quiet
 * @ballast: see ballast.c
 */
struct edu {
	struct vfio_pci_mig *mig;
	void __iomem *io;
	u32 operand;
	u32 cmd;
	bool begun;
	bool filled;
	u32 quiet[EDU_REGS];
	struct edu_ballast ballast;
};

static u32 edu_rd(struct edu *edu, u32 offset)
{
	return vfio_pci_mig_rd32(edu->mig, edu->io + offset);
}

static void edu_wr(struct edu *edu, u32 offset, u32 value)
{
	vfio_pci_mig_wr32(edu->mig, edu->io + offset, value);
}

static int edu_wait(struct edu *edu, u32 offset, u32 bit)
{
	u32 value;

	return read_poll_timeout(edu_rd, value, !(value & bit), EDU_POLL_US,
				 EDU_TIMEOUT_US, false, edu, offset);
}

static void edu_compute(struct edu *edu)
{
	edu_wr(edu, EDU_FACTORIAL, min_t(u32, edu->operand, EDU_OPERAND_MAX));
}

static void edu_begin_factorial(struct edu *edu)
{
	edu->begun = true;
	edu_compute(edu);
}

static void edu_begin_copy(struct edu *edu, u32 cmd)
{
	if (!(cmd & EDU_DMA_OUT))
		edu->filled = true;
	edu_wr(edu, EDU_DMA_CMD, cmd);
}

static void edu_capture(struct edu *edu)
{
	unsigned int reg;

	for (reg = 0; reg < EDU_REGS; reg++)
		edu->quiet[reg] = edu_rd(edu, edu_offset[reg]) & edu_mask[reg];
	/* The device keeps the old command only as long as nothing loads it. */
	edu->quiet[EDU_REG_CMD] = edu->cmd;
}

/*
 * COMPUTING goes off a moment before the interrupt comes. None comes if the
 * user has enabled it in between, or later.
 */
static void edu_wait_late_irq(struct edu *edu)
{
	u32 irq;

	if (edu->begun && (edu_rd(edu, EDU_STATUS) & EDU_STATUS_IRQ))
		read_poll_timeout(edu_rd, irq, irq & EDU_IRQ_COMPUTED,
				  EDU_POLL_US, EDU_LATE_US, false, edu,
				  EDU_IRQ);
	edu->begun = false;
}

/*
 * Neither a copy nor a factorial can be stopped. But both end soon, and the
 * user, whose accesses are trapped, cannot begin another one meanwhile.
 */
static int edu_quiesce(struct vfio_pci_mig *mig)
{
	struct edu *edu = vfio_pci_mig_priv(mig);

	if (edu_rd(edu, EDU_ID) != EDU_ID_VALUE) {
		vfio_pci_mig_broken(mig, "registers read as all ones");
		return -ENODEV;
	}
	if (edu_wait(edu, EDU_DMA_CMD, EDU_DMA_RUN) ||
	    edu_wait(edu, EDU_STATUS, EDU_STATUS_COMPUTING)) {
		vfio_pci_mig_warn(mig, "does not come to an end");
		return -ETIMEDOUT;
	}
	edu_wait_late_irq(edu);
	edu_capture(edu);
	return 0;
}

/* Make the device what the user has seen, and do what has been kept back. */
static int edu_release(struct vfio_pci_mig *mig)
{
	struct edu *edu = vfio_pci_mig_priv(mig);
	u32 irq = edu_rd(edu, EDU_IRQ);
	u32 want = edu->quiet[EDU_REG_IRQ];

	edu_wr(edu, EDU_LIVE, ~edu->quiet[EDU_REG_LIVE]);
	edu_wr(edu, EDU_STATUS, edu->quiet[EDU_REG_STATUS]);
	edu_wr(edu, EDU_DMA_SRC, edu->quiet[EDU_REG_SRC]);
	edu_wr(edu, EDU_DMA_DST, edu->quiet[EDU_REG_DST]);
	edu_wr(edu, EDU_DMA_COUNT, edu->quiet[EDU_REG_COUNT]);
	edu_wr(edu, EDU_IRQ_LOWER, irq & ~want);
	/* Each write interrupts: not for what the user knows already. */
	if (want & ~irq)
		edu_wr(edu, EDU_IRQ_RAISE, want & ~irq);
	if (edu->quiet[EDU_REG_STATUS] & EDU_STATUS_COMPUTING)
		edu_begin_factorial(edu);
	if (edu->quiet[EDU_REG_CMD] & EDU_DMA_RUN)
		edu_begin_copy(edu, edu->quiet[EDU_REG_CMD]);
	return 0;
}

/* No reset reaches these registers: do by hand what it should have done. */
static int edu_reset(struct vfio_pci_mig *mig)
{
	struct edu *edu = vfio_pci_mig_priv(mig);

	edu_wr(edu, EDU_STATUS, 0);
	if (edu_rd(edu, EDU_ID) != EDU_ID_VALUE ||
	    edu_wait(edu, EDU_DMA_CMD, EDU_DMA_RUN) ||
	    edu_wait(edu, EDU_STATUS, EDU_STATUS_COMPUTING))
		return -EIO;

	edu->operand = EDU_OPERAND_MAX;
	edu->cmd = 0;
	edu->begun = false;
	edu->filled = false;
	edu_ballast_reset(&edu->ballast);
	edu_compute(edu);
	edu_wr(edu, EDU_LIVE, U32_MAX);
	edu_wr(edu, EDU_IRQ_LOWER, U32_MAX);
	edu_wr(edu, EDU_DMA_SRC, 0);
	edu_wr(edu, EDU_DMA_DST, 0);
	edu_wr(edu, EDU_DMA_COUNT, 0);
	if (edu_wait(edu, EDU_STATUS, EDU_STATUS_COMPUTING))
		return -EIO;
	edu_capture(edu);
	return 0;
}

static int edu_open(struct vfio_pci_mig *mig)
{
	struct edu *edu = vfio_pci_mig_priv(mig);
	u64 features;
	int ret;

	edu->mig = mig;
	edu->io = vfio_pci_mig_bar(mig, EDU_BAR);
	ret = edu_ballast_open(&edu->ballast);
	if (ret)
		return ret;
	features = edu->ballast.size ? EDU_FEATURE_BALLAST : 0;
	vfio_pci_mig_set_features(mig, features, 0, features);
	vfio_pci_mig_set_chunks(mig, edu_ballast_chunks(&edu->ballast),
				edu->ballast.size +
				edu_ballast_chunks(&edu->ballast) *
				sizeof(struct edu_chunk));
	ret = edu_reset(mig);
	if (ret)
		edu_ballast_close(&edu->ballast);
	return ret;
}

static void edu_close(struct vfio_pci_mig *mig)
{
	struct edu *edu = vfio_pci_mig_priv(mig);

	edu_ballast_close(&edu->ballast);
}

static int edu_save(struct vfio_pci_mig *mig, struct mig_encoder *enc)
{
	struct edu *edu = vfio_pci_mig_priv(mig);
	struct edu_record out;
	unsigned int reg;

	if (edu->filled) {
		vfio_pci_mig_warn(mig, "the buffer has been filled, and cannot be read: not migratable");
		return -EOPNOTSUPP;
	}
	for (reg = 0; reg < EDU_REGS; reg++)
		out.reg[reg] = cpu_to_le32(edu->quiet[reg]);
	out.reg[EDU_REG_FACTORIAL] = cpu_to_le32(edu->operand);
	edu->ballast.saved = 0;
	return vfio_pci_mig_put_record(enc, EDU_RECORD_REGS,
				       VFIO_MIG_RECORD_REQUIRED, &out,
				       sizeof(out));
}

static int edu_save_chunk(struct vfio_pci_mig *mig, struct mig_encoder *enc)
{
	struct edu *edu = vfio_pci_mig_priv(mig);

	return edu_ballast_save(&edu->ballast, enc, EDU_RECORD_BALLAST);
}

/* Too early to know whether the rest is good: if not, edu_reset() is called. */
static int edu_load_chunk(struct vfio_pci_mig *mig, u16 type,
			  const void *payload, u32 length)
{
	struct edu *edu = vfio_pci_mig_priv(mig);
	int ret = edu_ballast_load(&edu->ballast, payload, length);

	if (ret)
		vfio_pci_mig_warn(mig, "not the next part of the ballast");
	return ret;
}

static int edu_load(struct vfio_pci_mig *mig, const struct mig_parser *state)
{
	const struct edu_record *in =
		vfio_pci_mig_get_record(state, EDU_RECORD_REGS, NULL);
	struct edu *edu = vfio_pci_mig_priv(mig);
	u32 value[EDU_REGS];
	unsigned int reg;

	if (!in) {
		vfio_pci_mig_warn(mig, "no registers in the stream");
		return -EINVAL;
	}
	for (reg = 0; reg < EDU_REGS; reg++) {
		value[reg] = le32_to_cpu(in->reg[reg]);
		if (value[reg] & ~edu_mask[reg]) {
			vfio_pci_mig_warn(mig, "register %#x: no guest could have set %#x",
					  edu_offset[reg], value[reg]);
			return -EINVAL;
		}
	}

	if (edu->ballast.loaded != edu->ballast.size) {
		vfio_pci_mig_warn(mig, "%zu bytes of ballast, %zu are wanted",
				  edu->ballast.loaded, edu->ballast.size);
		return -EINVAL;
	}

	edu->operand = value[EDU_REG_FACTORIAL];
	if (!(value[EDU_REG_STATUS] & EDU_STATUS_COMPUTING)) {
		/* It does not interrupt: EDU_STATUS is left to release. */
		edu_compute(edu);
		if (edu_wait(edu, EDU_STATUS, EDU_STATUS_COMPUTING)) {
			vfio_pci_mig_warn(mig, "cannot compute");
			return -ETIMEDOUT;
		}
		value[EDU_REG_FACTORIAL] = edu_rd(edu, EDU_FACTORIAL);
	}
	memcpy(edu->quiet, value, sizeof(edu->quiet));
	edu->cmd = value[EDU_REG_CMD] & ~EDU_DMA_RUN;
	return 0;
}

static u32 edu_bar_read(struct vfio_pci_mig *mig, unsigned int bar, u32 offset)
{
	struct edu *edu = vfio_pci_mig_priv(mig);
	unsigned int reg;
	u32 value;

	if (edu_ballast_read(&edu->ballast, offset, &value))
		return value;
	if (!vfio_pci_mig_quiet(mig)) {
		if (offset == EDU_DMA_CMD)
			return edu->cmd | (edu_rd(edu, offset) & EDU_DMA_RUN);
		return edu_rd(edu, offset);
	}
	for (reg = 0; reg < EDU_REGS; reg++)
		if (edu_offset[reg] == offset)
			return edu->quiet[reg];
	return offset == EDU_ID ? EDU_ID_VALUE : U32_MAX;
}

/* Does the device take no notice of this, because it is at work? */
static bool edu_ignores(struct edu *edu, u32 offset, u32 value)
{
	u32 cmd = edu_bar_read(edu->mig, EDU_BAR, EDU_DMA_CMD);

	switch (offset) {
	case EDU_FACTORIAL:
		return edu_bar_read(edu->mig, EDU_BAR, EDU_STATUS) &
		       EDU_STATUS_COMPUTING;
	case EDU_DMA_CMD:
		return (cmd & EDU_DMA_RUN) || !(value & EDU_DMA_RUN);
	case EDU_DMA_SRC:
	case EDU_DMA_DST:
	case EDU_DMA_COUNT:
		return cmd & EDU_DMA_RUN;
	default:
		return false;
	}
}

static void edu_write_quiet(struct edu *edu, u32 offset, u32 value)
{
	u32 *quiet = edu->quiet;

	switch (offset) {
	case EDU_LIVE:
		quiet[EDU_REG_LIVE] = ~value;
		break;
	case EDU_FACTORIAL:
		quiet[EDU_REG_FACTORIAL] = value;
		quiet[EDU_REG_STATUS] |= EDU_STATUS_COMPUTING;
		break;
	case EDU_STATUS:
		quiet[EDU_REG_STATUS] &= ~EDU_STATUS_IRQ;
		quiet[EDU_REG_STATUS] |= value & EDU_STATUS_IRQ;
		break;
	case EDU_IRQ_RAISE:
		quiet[EDU_REG_IRQ] |= value;
		break;
	case EDU_IRQ_LOWER:
		quiet[EDU_REG_IRQ] &= ~value;
		break;
	case EDU_DMA_SRC:
		quiet[EDU_REG_SRC] = value;
		break;
	case EDU_DMA_DST:
		quiet[EDU_REG_DST] = value;
		break;
	case EDU_DMA_COUNT:
		quiet[EDU_REG_COUNT] = value;
		break;
	case EDU_DMA_CMD:
		quiet[EDU_REG_CMD] = edu->cmd | EDU_DMA_RUN;
		break;
	}
}

static void edu_bar_write(struct vfio_pci_mig *mig, unsigned int bar,
			  u32 offset, u32 value)
{
	struct edu *edu = vfio_pci_mig_priv(mig);

	if (edu_ballast_write(&edu->ballast, offset, value,
			      vfio_pci_mig_quiet(mig)) ||
	    edu_ignores(edu, offset, value))
		return;
	if (offset == EDU_FACTORIAL)
		edu->operand = value;
	if (offset == EDU_DMA_CMD)
		edu->cmd = value & edu_mask[EDU_REG_CMD] & ~EDU_DMA_RUN;
	if (offset == EDU_IRQ_LOWER && (value & EDU_IRQ_COMPUTED))
		edu->begun = false;

	if (vfio_pci_mig_quiet(mig))
		edu_write_quiet(edu, offset, value);
	else if (offset == EDU_FACTORIAL)
		edu_begin_factorial(edu);
	else if (offset == EDU_DMA_CMD)
		edu_begin_copy(edu, value);
	else
		edu_wr(edu, offset, value);
}

static const struct vfio_pci_mig_range edu_ranges[] = {
	{
		.bar = EDU_BAR,
		.kind = VFIO_PCI_MIG_TRAP,
		.offset = 0,
		.size = EDU_BAR_SIZE,
	},
};

static const struct mig_record_desc edu_records[] = {
	{
		.type = EDU_RECORD_REGS,
		.min = sizeof(struct edu_record),
		.max = sizeof(struct edu_record),
		.mandatory = true,
	},
	{
		.type = EDU_RECORD_BALLAST,
		.min = sizeof(struct edu_chunk) + 1,
		.max = sizeof(struct edu_chunk) + EDU_BALLAST_CHUNK,
		.chunked = true,
	},
};

static const struct vfio_pci_mig_backend edu_backend = {
	.name = "edu",
	.state_version = EDU_STATE_VERSION,
	.records = edu_records,
	.nr_records = ARRAY_SIZE(edu_records),
	.ranges = edu_ranges,
	.nr_ranges = ARRAY_SIZE(edu_ranges),
	.priv_size = sizeof(struct edu),
	.open = edu_open,
	.close = edu_close,
	.reset = edu_reset,
	.quiesce = edu_quiesce,
	.release = edu_release,
	.save = edu_save,
	.load = edu_load,
	.save_chunk = edu_save_chunk,
	.load_chunk = edu_load_chunk,
	.bar_read = edu_bar_read,
	.bar_write = edu_bar_write,
};

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return vfio_pci_mig_probe(pdev, &edu_backend);
}

static const struct pci_device_id edu_table[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(0x1234, 0x11e8) },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_table);

static struct pci_driver edu_driver = {
	.name = "edu-vfio-pci",
	.id_table = edu_table,
	.probe = edu_probe,
	.remove = vfio_pci_mig_remove,
	.err_handler = &vfio_pci_mig_err_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(edu_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Example: VFIO PCI driver with live migration for QEMU's edu device");
