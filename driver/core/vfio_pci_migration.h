/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The backend interface of vfio_pci_migration: what a vfio-pci variant driver
 * has to say about its device. Everything else (uAPI, states, data fds,
 * stream framing, reset, locking, register windows) is the core's.
 */
#ifndef _VFIO_PCI_MIGRATION_H
#define _VFIO_PCI_MIGRATION_H

#include <linux/io.h>
#include <linux/pci.h>
#include <linux/vfio_pci_core.h>

#include "stream.h"

struct vfio_pci_mig;

/**
 * enum vfio_pci_mig_range_kind - how a range of a BAR is offered to the user
 * @VFIO_PCI_MIG_TRAP: every access goes through @bar_read and @bar_write
 * @VFIO_PCI_MIG_SHIELD: mmap hands out the real registers while the device is
 *	working. While it is quiet, or dirty pages are tracked, accesses by
 *	mmap and by read/write reach @bar_read and @bar_write only, never the
 *	device. For rings and doorbells: costs nothing while no migration runs.
 * @VFIO_PCI_MIG_DIRECT: where @open has said so by vfio_pci_mig_map_direct(),
 *	it is as if shielded, but stays the user's while dirty pages are
 *	tracked: nothing there may tell the device where to write. Where it has
 *	not, it is trapped. For what can be read back from some devices only.
 */
enum vfio_pci_mig_range_kind {
	VFIO_PCI_MIG_TRAP,
	VFIO_PCI_MIG_SHIELD,
	VFIO_PCI_MIG_DIRECT,
};

/**
 * struct vfio_pci_mig_range - part of a BAR that the backend watches
 * @bar: index of the BAR, 0..5
 * @kind: see above
 * @offset: in bytes from the start of the BAR, multiple of 4096
 * @size: in bytes, multiple of 4096
 *
 * A BAR with a range must be covered by ranges completely; a BAR without any
 * is left to vfio-pci-core.
 */
struct vfio_pci_mig_range {
	u8 bar;
	enum vfio_pci_mig_range_kind kind;
	u32 offset;
	u32 size;
};

/**
 * struct vfio_pci_mig_track_ops - which pages the device may write
 * @live: shielded registers that the device changes by itself, such as heads
 * @nr_live: number of @live
 * @start: tracking begins: the device works, and the user's accesses to
 *	shielded ranges have just been taken away from it. From now on
 *	@bar_write only remembers what is written there. io_lock
 * @look: what should the device be told? Remember a copy. False if nothing is
 *	new. io_lock
 * @record: go through that copy, call vfio_pci_mig_posted() for each buffer
 *	and each ring that the device might write if it knew it, and take out
 *	of the copy what that fails for. Holds no lock that others need: the
 *	registers may change meanwhile, by a reset for instance.
 * @apply: let the device know the copy, unless @reset, @quiesce or @load came
 *	after @look. io_lock
 * @retire: call vfio_pci_mig_unposted() for what the device will not write any
 *	more. Locks as for @record.
 * @stop: forget everything, vfio_pci_mig_unposted() included. The device is
 *	silent. Locks as for @record.
 *
 * A @release of a quiet device comes between @look, @record and @retire instead
 * of @apply, and starts the device with the copy.
 */
struct vfio_pci_mig_track_ops {
	const u32 *live;
	unsigned int nr_live;

	void (*start)(struct vfio_pci_mig *mig);
	bool (*look)(struct vfio_pci_mig *mig);
	void (*record)(struct vfio_pci_mig *mig);
	void (*apply)(struct vfio_pci_mig *mig);
	void (*retire)(struct vfio_pci_mig *mig);
	void (*stop)(struct vfio_pci_mig *mig);
};

/**
 * struct vfio_pci_mig_backend - a kind of device that can be migrated
 * @name: name in the stream's IDENTITY, shorter than VFIO_MIG_BACKEND_NAME_LEN
 * @state_version: version of the records that @save writes and the newest
 *	that @load understands
 * @records: record types of the device state
 * @nr_records: number of @records, at most MIG_RECORD_DESC_MAX
 * @ranges: BAR ranges to watch, in rising order
 * @nr_ranges: number of @ranges
 * @priv_size: bytes of private data, see vfio_pci_mig_priv()
 * @fault_points: names for vfio_pci_mig_fault()
 * @nr_fault_points: number of @fault_points
 * @open: the device has just been reset and enabled for a new user: set up
 *	private data. 0 or -errno.
 * @close: the user is gone; the device will be reset. Optional.
 * @reset: the function has just been reset, by whomever: bring registers that
 *	a reset may spare, and private data, to the state of a fresh device. 0;
 *	or -errno if the device is not silent, and it stays in ERROR.
 * @quiesce: make the device quiet: stop new DMA and interrupts, wait (bounded)
 *	until earlier DMA has been written back, flush posted writes by a read.
 *	Remember what the user should see meanwhile. 0, or -errno where the
 *	device works as before; if it can neither be made quiet nor go on, call
 *	vfio_pci_mig_broken(). The core then waits for pending transactions,
 *	clears bus mastering and waits for interrupt handlers.
 * @release: the opposite: go on exactly where @quiesce (or @load) left off,
 *	with what the user wrote meanwhile. Bus mastering is as the user wants
 *	it again. 0 or -errno, and quiet still.
 * @save: write the device's records by vfio_pci_mig_put_record(); it is quiet
 *	and stays so. 0 or -errno.
 * @save_ahead: optional: write those records, as they are now, that a
 *	destination can prepare itself with; the device may work. 0 or -errno,
 *	and it will be asked again.
 * @prepare: optional: the records that @save_ahead has written are at hand, as
 *	for @load. Do what takes long, and refuse what @load would have to
 *	refuse. Nothing of it may be for the user to see: @load has the last
 *	word, and there may be none. As @load on -errno.
 * @load: the records of a complete and checked sequence are at hand
 *	(vfio_pci_mig_get_record()); validate them all, then put them into the
 *	device, which stays quiet. May be called again with a later sequence.
 *	On -errno the reason has been said by vfio_pci_mig_warn() and the
 *	stream is refused.
 * @save_chunk: optional, and only together with @load_chunk: for a state that
 *	is too large for one buffer. Called after @save, whenever the user has
 *	read what there was: write the next record of a type that is @chunked,
 *	or several if vfio_pci_mig_space() has room for them. The device is
 *	quiet all the time. May stop being called at any point, and begin anew
 *	with the next @save. 1: to be called again; 0: there is no more; or
 *	-errno: the stream ends there.
 * @load_chunk: a record of a @chunked type has come; put it into the device
 *	now, which stays quiet. So the load of such a state is not
 *	transactional: what has been validated is this record, not the rest of
 *	the sequence, and @load is called last. If anything goes wrong later,
 *	or another sequence begins, the function is reset, and @reset called.
 *	-errno as for @load.
 * @bar_read: read the dword at @offset of a watched BAR for the user
 * @bar_write: write it for the user
 * @track: optional: what the core asks to find dirty pages
 *
 * All callbacks may sleep, must bound every wait, and are called with the
 * device's io_lock held, so one never runs beside another. Memory decoding is
 * on, but for @bar_read and @bar_write, where a VF's user may have tried to
 * switch it off. @open, @close, @quiesce, @release, @save, @load and those for
 * chunks and for what is sent ahead hold the state lock, too.
 */
struct vfio_pci_mig_backend {
	const char *name;
	u32 state_version;
	const struct mig_record_desc *records;
	unsigned int nr_records;
	const struct vfio_pci_mig_range *ranges;
	unsigned int nr_ranges;
	size_t priv_size;
	const char * const *fault_points;
	unsigned int nr_fault_points;

	int (*open)(struct vfio_pci_mig *mig);
	void (*close)(struct vfio_pci_mig *mig);
	int (*reset)(struct vfio_pci_mig *mig);
	int (*quiesce)(struct vfio_pci_mig *mig);
	int (*release)(struct vfio_pci_mig *mig);
	int (*save)(struct vfio_pci_mig *mig, struct mig_encoder *enc);
	int (*save_ahead)(struct vfio_pci_mig *mig, struct mig_encoder *enc);
	int (*prepare)(struct vfio_pci_mig *mig,
		       const struct mig_parser *state);
	int (*load)(struct vfio_pci_mig *mig, const struct mig_parser *state);
	int (*save_chunk)(struct vfio_pci_mig *mig, struct mig_encoder *enc);
	int (*load_chunk)(struct vfio_pci_mig *mig, u16 type,
			  const void *payload, u32 length);
	u32 (*bar_read)(struct vfio_pci_mig *mig, unsigned int bar, u32 offset);
	void (*bar_write)(struct vfio_pci_mig *mig, unsigned int bar,
			  u32 offset, u32 value);
	const struct vfio_pci_mig_track_ops *track;
};

int vfio_pci_mig_probe(struct pci_dev *pdev,
		       const struct vfio_pci_mig_backend *backend);
void vfio_pci_mig_remove(struct pci_dev *pdev);
extern const struct pci_error_handlers vfio_pci_mig_err_handlers;

void *vfio_pci_mig_priv(struct vfio_pci_mig *mig);
struct pci_dev *vfio_pci_mig_pdev(struct vfio_pci_mig *mig);
void __iomem *vfio_pci_mig_bar(struct vfio_pci_mig *mig, unsigned int bar);
u32 vfio_pci_mig_rd32(struct vfio_pci_mig *mig, const void __iomem *reg);
void vfio_pci_mig_wr32(struct vfio_pci_mig *mig, void __iomem *reg, u32 value);
bool vfio_pci_mig_quiet(struct vfio_pci_mig *mig);
void vfio_pci_mig_set_features(struct vfio_pci_mig *mig, u64 required,
			       u64 optional, u64 known);
void vfio_pci_mig_set_chunks(struct vfio_pci_mig *mig, u32 count, u64 bytes);
bool vfio_pci_mig_map_direct(struct vfio_pci_mig *mig);
__printf(2, 3)
void vfio_pci_mig_describe(struct vfio_pci_mig *mig, const char *fmt, ...);
bool vfio_pci_mig_tracking(struct vfio_pci_mig *mig);
void vfio_pci_mig_changed(struct vfio_pci_mig *mig);
int vfio_pci_mig_posted(struct vfio_pci_mig *mig, u64 iova, size_t bytes);
void vfio_pci_mig_unposted(struct vfio_pci_mig *mig, u64 iova, size_t bytes);
int vfio_pci_mig_posted_read(struct vfio_pci_mig *mig, u64 iova, void *data,
			     size_t bytes);
void *vfio_pci_mig_space(struct mig_encoder *enc, u32 length);
int vfio_pci_mig_put_record(struct mig_encoder *enc, u16 type, u16 flags,
			    const void *payload, u32 length);
const void *vfio_pci_mig_get_record(const struct mig_parser *state, u16 type,
				    u32 *length);
void vfio_pci_mig_broken(struct vfio_pci_mig *mig, const char *reason);
__printf(2, 3)
void vfio_pci_mig_warn(struct vfio_pci_mig *mig, const char *fmt, ...);

#ifdef CONFIG_VFIO_PCI_MIGRATION_FAULTS
int vfio_pci_mig_fault(struct vfio_pci_mig *mig, unsigned int point);
#else
static inline int vfio_pci_mig_fault(struct vfio_pci_mig *mig,
				     unsigned int point)
{
	return 0;
}
#endif

#endif /* _VFIO_PCI_MIGRATION_H */
