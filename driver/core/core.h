/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the core share. Lock order, outermost first:
 *
 *	guard->mutex		state, sessions, transitions
 *	 dirty.forward_lock	what the user told the device while tracking
 *	  dirty.lock		recorded pages; the container's locks are below
 *	 mmap_lock		(page faults; taken below dirty.lock only)
 *	  core.memory_lock	vfio-pci-core: reset, memory decoding
 *	   io_lock		backend callbacks, shield, stand-in pages
 *
 * vfio-pci-core runs reset_done with memory_lock held for write, so that path
 * may not wait for guard->mutex: it only tries, and leaves the work to the
 * holder's unlock otherwise (mig_reset_done()). None of these locks is ever
 * held over an access to user memory: a fault on the user's own mapped BAR
 * would wait for memory_lock, and so for a reset that waits for us.
 */
#ifndef _MIG_CORE_H
#define _MIG_CORE_H

#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/ratelimit.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "fsm.h"
#include "vfio_pci_migration.h"

/* Registers are watched in pages of this size, whatever PAGE_SIZE is. */
#define MIG_PAGE	4096u

/**
 * struct mig_guard - the state lock, which data fds may hold on to
 * @ref: one for the device, one for each session
 * @mutex: see above
 * @reset_lock: protects @deferred_reset and the decision to unlock @mutex
 * @deferred_reset: the function was reset while @mutex was held
 * @mig: the device; NULL once it has been removed
 *
 * It outlives the device, so that a data fd that is still open after close
 * and unbind finds a lock to take and learns there that its device is gone.
 */
struct mig_guard {
	struct kref ref;
	struct mutex mutex;	/* outermost */
	spinlock_t reset_lock;	/* innermost */
	bool deferred_reset;
	struct vfio_pci_mig *mig;
};

/**
 * struct mig_session - one outgoing or incoming stream
 * @ref: one for the device while attached, one for the data fd
 * @guard: protects everything else but @io_mutex and @bounce
 * @mig: the device; NULL once the session is over
 * @incoming: RESUMING, not SAVING
 * @prepared: the device is prepared by what was sent ahead in this sequence
 * @loaded: the sequence that @parser has completed is in the device
 * @touched: incoming: so are chunks, but for a reset
 * @touched_by: incoming: number of the sequence that these are of
 * @over: @mig is NULL, for poll, which takes no lock
 * @io_mutex: one read or write of the data fd at a time; protects @bounce.
 *	Held over user access, hence never taken by anything else. Outside of
 *	the guard.
 * @wait: poll
 * @buf: outgoing: what is to be read; incoming: the parser's staging buffer
 * @size: bytes in @buf
 * @used: outgoing: bytes in @buf that may be read
 * @pos: outgoing: bytes read so far
 * @first: outgoing: where in @buf the first record begins
 * @copying: outgoing: what is before @pos is on its way to the user and must
 *	stay where it is: @io_mutex is held, and not the guard
 * @more: outgoing: chunks or END are to follow what is in @buf, as long as the
 *	device does not run
 * @left: outgoing: with @more: bytes of chunks that may follow, at most
 * @segment: outgoing, v1: bytes from @pos on that are in the data window
 * @segment_taken: outgoing, v1: the user knows the size of @segment
 * @sequence: outgoing: number of the latest sequence; 0: none yet
 * @encoder: outgoing: writes the next sequence
 * @parser: incoming
 * @bounce: user data on its way in; v1, which has no fd: the guard's
 */
struct mig_session {
	struct kref ref;
	struct mig_guard *guard;
	struct vfio_pci_mig *mig;
	bool incoming;
	bool prepared;
	bool loaded;
	bool touched;
	u32 touched_by;
	bool over;
	struct mutex io_mutex;	/* one read or write */
	wait_queue_head_t wait;
	u8 *buf;
	size_t size;
	size_t used;
	size_t pos;
	size_t first;
	bool copying;
	bool more;
	u64 left;
	size_t segment;
	bool segment_taken;
	u32 sequence;
	struct mig_encoder encoder;
	struct mig_parser parser;
	u8 bounce[MIG_PAGE];
};

/**
 * enum mig_door - by which uAPI a request comes
 * @MIG_DOOR_NONE: the device is RUNNING, nobody has begun a migration
 * @MIG_DOOR_V1: the migration region
 * @MIG_DOOR_V2: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
 */
enum mig_door {
	MIG_DOOR_NONE,
	MIG_DOOR_V1,
	MIG_DOOR_V2,
};

#define MIG_NOTE_REASON	192

/**
 * struct mig_last_stream - what the last stream of a kind had in it
 * @sequence: number of its last sequence
 * @records: in all of its sequences
 * @bytes: of these records
 * @whole: the last record is an END
 */
struct mig_last_stream {
	u32 sequence;
	u32 records;
	u64 bytes;
	bool whole;
};

/**
 * struct mig_so_far - what has happened to a device
 * @ability: what the backend has found out about it; empty: nothing
 * @doing: what takes its time just now, a constant string; or NULL
 * @since: when that began
 * @transitions: changes of state
 * @resets: resets
 * @pending: stops that saw Transactions Pending set
 * @refusals: what was asked for and not done
 * @saved: bytes of streams that have been read
 * @loaded: bytes of streams that have been written
 * @stream: the last that went out and the last that came in
 * @error: the last refusal's -errno
 * @when: time of the last refusal, in seconds
 * @reason: the last refusal's reason
 */
struct mig_so_far {
	char ability[MIG_NOTE_REASON];
	const char *doing;
	ktime_t since;
	u64 transitions;
	u64 resets;
	u64 pending;
	u64 refusals;
	u64 saved;
	u64 loaded;
	struct mig_last_stream stream[2];
	int error;
	time64_t when;
	char reason[MIG_NOTE_REASON];
};

/**
 * struct mig_accesses - how often the backend has accessed its registers
 * @reads: reads
 * @writes: writes
 */
struct mig_accesses {
	unsigned long reads;
	unsigned long writes;
};

/**
 * struct mig_note - notes about a device, see note.c
 * @lock: protects all but @limit, @step and @phase
 * @limit: for lines in the kernel's log
 * @told: the reason of the refusal to come is there already
 * @so_far: what has happened
 * @step: accesses when the step that is being done began; state lock
 * @phase: the same of its phase
 */
struct mig_note {
	spinlock_t lock;	/* innermost */
	struct ratelimit_state limit;
	bool told;
	struct mig_so_far so_far;
	struct mig_accesses step;
	struct mig_accesses phase;
};

/**
 * struct mig_window - the data window of the migration region
 * @lock: protects @page; below mmap_lock and the guard, nothing is below it
 * @page: pages of the session, allocated when first used
 * @pages: number of @page
 * @region: index of the region; 0: not registered
 */
struct mig_window {
	struct mutex lock;	/* innermost but reset_lock */
	struct page **page;
	unsigned int pages;
	unsigned int region;
};

/**
 * struct mig_standin - memory in place of a page of registers
 * @page: what the user maps instead of the registers while the device is quiet
 * @seen: content of @page that the backend knows of
 * @bar: BAR of the registers
 * @offset: where in @bar
 * @direct: for a range that may be VFIO_PCI_MIG_DIRECT
 * @shown: @page is up to date; otherwise the user has not got it mapped
 */
struct mig_standin {
	struct page *page;
	u32 *seen;
	u8 bar;
	u32 offset;
	bool direct;
	bool shown;
};

/**
 * struct mig_dirty - pages that the device may write, see dirty.c
 * @forward_lock: one at a time forwards
 * @lock: protects what follows, but for @poller
 * @posted: struct mig_posted_page by number of the page
 * @pages: number of @posted
 * @missing: how many of them are not pinned
 * @retry_at: when to try again to pin these, in jiffies
 * @fence_first: first page that must not be pinned for now
 * @fence_last: last of them
 * @fence_end: until when, in jiffies
 * @fence_shift: how often this has been extended
 * @scope: domain whose container reports pinned pages only; NULL: none does
 * @pinning: recorded pages are pinned; does not change while tracking
 * @pinned: a page has been pinned since tracking began
 * @poller: looks at the stand-ins
 */
struct mig_dirty {
	struct mutex forward_lock;	/* outside of memory_lock */
	struct mutex lock;		/* recorded pages */
	struct xarray posted;
	unsigned int pages;
	unsigned int missing;
	unsigned long retry_at;
	unsigned long fence_first;
	unsigned long fence_last;
	unsigned long fence_end;
	unsigned int fence_shift;
	struct iommu_domain *scope;
	bool pinning;
	bool pinned;
	struct task_struct *poller;
};

/**
 * struct mig_log - DMA logging, see log.c; all of it is protected by dirty.lock
 * @on: the user has asked for it, so tracking is on
 * @lost: there are too many pages to be marked: all of them count as dirty
 * @range: what is to be logged
 * @ranges: number of @range
 * @leaf: marks, as bitmaps
 * @leaves: number of @leaf
 */
struct mig_log {
	bool on;
	bool lost;
	struct mig_log_range *range;
	unsigned int ranges;
	struct xarray leaf;
	unsigned int leaves;
};

/**
 * struct vfio_pci_mig - a migratable device
 * @core: vfio-pci-core's part; must be the first member
 * @backend: what kind of device it is
 * @self: the same in the words of the stream
 * @stream_max: bytes of the longest sequence that @backend can write, without
 *	chunks
 * @chunk_max: bytes of the longest chunk that there can be; 0: none
 * @chunk_bytes: bytes of all chunks of a sequence, at most
 * @guard: the state lock
 * @state: MIG_*, as in fsm.h; guard->mutex
 * @owner: door that took the device out of RUNNING; guard->mutex
 * @broken: nothing but a reset helps; guard->mutex
 * @lost: a fatal error was reported since the last reset; no lock
 * @session: the stream in progress; guard->mutex
 * @retired: stream that the transition under way has ended, kept to be
 *	re-attached if a later step fails; guard->mutex
 * @next_session: allocated for the request under way; guard->mutex
 * @resetting: task that is resetting the function for RESUMING
 * @resets: counts resets by the user
 * @io_lock: see above
 * @mappable: shielded ranges can be mapped; set when the device is bound
 * @direct: so can direct ones; set when the device is opened
 * @mapped: some of a watched BAR may be in the user's page tables
 * @opened: between open and close; written with guard->mutex and io_lock
 * @shielded: the user's accesses do not reach the device; io_lock
 * @tracking: they reach it by way of mig_dirty_forward(); io_lock
 * @changed: registers in shielded ranges have changed by themselves; io_lock
 * @exposed: the user has had trapped registers in a mapping; io_lock
 * @bus_blocked: bus mastering is off behind the user's back, and memory
 *	decoding is on; io_lock
 * @bus_wanted: the user's view of Bus Master Enable meanwhile; io_lock
 * @mem_forced: memory decoding is to be off again with the lock; io_lock
 * @bar: the watched BARs, mapped between open and close
 * @standin: one for each page that can be mapped, in @backend->ranges' order
 * @nr_standins: number of @standin
 * @dirty: pages that the device may write
 * @log: those that it may have written
 * @window: v1
 * @accesses: of its registers; io_lock
 * @note: for people
 * @debugfs: directory of the device in debugfs; an ERR_PTR without
 * @faults: injected faults; exists only where they are compiled in
 * @priv: the backend's
 */
struct vfio_pci_mig {
	struct vfio_pci_core_device core;
	const struct vfio_pci_mig_backend *backend;
	struct mig_stream_self self;
	size_t stream_max;
	size_t chunk_max;
	u64 chunk_bytes;

	struct mig_guard *guard;
	u32 state;
	enum mig_door owner;
	bool broken;
	bool lost;
	struct mig_session *session;
	struct mig_session *retired;
	struct mig_session *next_session;
	struct task_struct *resetting;
	atomic_t resets;

	struct mutex io_lock;	/* backend callbacks */
	bool mappable;
	bool direct;
	bool mapped;
	bool opened;
	bool shielded;
	bool tracking;
	bool changed;
	bool exposed;
	bool bus_blocked;
	bool bus_wanted;
	bool mem_forced;
	void __iomem *bar[PCI_STD_NUM_BARS];
	struct mig_standin *standin;
	unsigned int nr_standins;
	struct mig_dirty dirty;
	struct mig_log log;
	struct mig_window window;
	struct mig_accesses accesses;
	struct mig_note note;
	struct dentry *debugfs;
#ifdef CONFIG_VFIO_PCI_MIGRATION_FAULTS
	struct mig_faults *faults;
#endif

	u64 priv[];
};

static inline struct vfio_pci_mig *mig_from_vdev(struct vfio_device *vdev)
{
	return container_of(vdev, struct vfio_pci_mig, core.vdev);
}

/* guard.c */
struct mig_guard *mig_guard_alloc(struct vfio_pci_mig *mig);
void mig_guard_put(struct mig_guard *guard);
void mig_guard_remove(struct mig_guard *guard);
void mig_guard_lock(struct mig_guard *guard);
void mig_guard_unlock(struct mig_guard *guard);
void mig_guard_reset_done(struct mig_guard *guard);
void mig_guard_settle(struct mig_guard *guard);

/* steps.c */
int mig_check_door_locked(struct vfio_pci_mig *mig, enum mig_door door);
int mig_request_locked(struct vfio_pci_mig *mig, enum mig_door door,
		       const u32 *path, unsigned int arcs, struct file **filp);
int mig_save_ahead_locked(struct vfio_pci_mig *mig,
			  struct mig_session *session);
int mig_prepare_locked(struct vfio_pci_mig *mig, struct mig_session *session);
int mig_save_chunk_locked(struct vfio_pci_mig *mig,
			  struct mig_session *session);
int mig_load_chunk_locked(struct vfio_pci_mig *mig,
			  struct mig_session *session);
int mig_load_locked(struct vfio_pci_mig *mig, struct mig_session *session);
int mig_unload_locked(struct vfio_pci_mig *mig, struct mig_session *session);
void mig_clean_state_locked(struct vfio_pci_mig *mig, bool in_reset);
void mig_close_locked(struct vfio_pci_mig *mig);

/* session.c */
struct mig_session *mig_session_alloc(struct vfio_pci_mig *mig, bool incoming);
void mig_session_get(struct mig_session *session);
void mig_session_put(struct mig_session *session);
void mig_session_detach_locked(struct mig_session *session);
int mig_session_begin_locked(struct mig_session *session);
void mig_session_commit_locked(struct mig_session *session);
int mig_session_fill_locked(struct mig_session *session);
size_t mig_session_pending_locked(struct mig_session *session);
u64 mig_session_left_locked(struct mig_session *session);
void mig_session_ack_locked(struct mig_session *session);
int mig_session_take_locked(struct mig_session *session, const u8 *data,
			    size_t len);

/* note.c */
void mig_note_init(struct vfio_pci_mig *mig);
void mig_note_reason(struct vfio_pci_mig *mig, const char *reason);
int mig_note_refusal(struct vfio_pci_mig *mig, int error, const char *reason);
ktime_t mig_note_begin(struct vfio_pci_mig *mig, const char *doing);
ktime_t mig_note_phase(struct vfio_pci_mig *mig, const char *phase,
		       ktime_t began);
int mig_note_step(struct vfio_pci_mig *mig, enum mig_step step, bool undo,
		  ktime_t began, int ret);
void mig_note_taken(struct vfio_pci_mig *mig, const char *doing,
		    ktime_t began);
void mig_note_transition(struct vfio_pci_mig *mig, u32 from, u32 to,
			 enum mig_door door, ktime_t began, int ret);
void mig_note_reset(struct vfio_pci_mig *mig, const char *why, int ret);
void mig_note_pending(struct vfio_pci_mig *mig);
void mig_note_stream(struct vfio_pci_mig *mig, bool incoming);
void mig_note_record(struct vfio_pci_mig *mig, bool incoming,
		     const struct vfio_mig_record *record);
void mig_note_bytes(struct vfio_pci_mig *mig, bool incoming, ssize_t bytes);
const char *mig_door_name(enum mig_door door);

/* debugfs.c */
void mig_debugfs_add(struct vfio_pci_mig *mig);
void mig_debugfs_link(struct vfio_pci_mig *mig);
void mig_debugfs_remove(struct vfio_pci_mig *mig);

/* datafd.c */
struct file *mig_datafd_file(struct mig_session *session);

/* window.c */
int mig_window_init(struct vfio_pci_mig *mig);
void mig_window_free(struct vfio_pci_mig *mig);
void mig_window_renew(struct vfio_pci_mig *mig);
size_t mig_window_size(const struct mig_window *window);
int mig_window_copy(struct vfio_pci_mig *mig, size_t offset, void *data,
		    size_t len, bool write);
int mig_window_mmap(struct vfio_pci_mig *mig, struct vm_area_struct *vma);

/* command.c */
bool mig_memory_enabled(struct vfio_pci_mig *mig);
void mig_io_lock(struct vfio_pci_mig *mig);
void mig_io_unlock(struct vfio_pci_mig *mig);
void mig_device_lock(struct vfio_pci_mig *mig);
void mig_device_unlock(struct vfio_pci_mig *mig);
void mig_bus_block(struct vfio_pci_mig *mig);
void mig_bus_unblock(struct vfio_pci_mig *mig);
ssize_t mig_config_rw(struct vfio_pci_mig *mig, char __user *buf, size_t count,
		      loff_t *ppos, bool write);

/* pci.c */
bool mig_present(struct vfio_pci_mig *mig);
int mig_check_lost(struct vfio_pci_mig *mig);
int mig_check_present(struct vfio_pci_mig *mig);
int mig_wait_transactions(struct vfio_pci_mig *mig);
void mig_wait_interrupts(struct vfio_pci_mig *mig);
int mig_reset_function(struct vfio_pci_mig *mig);

/* bar.c */
int mig_bar_init(struct vfio_pci_mig *mig);
void mig_bar_free(struct vfio_pci_mig *mig);
int mig_bar_open(struct vfio_pci_mig *mig);
void mig_bar_close(struct vfio_pci_mig *mig);
bool mig_bar_watched(struct vfio_pci_mig *mig, unsigned int index);
bool mig_bar_mmap_possible(struct vfio_pci_mig *mig);
void mig_shield_zap(struct vfio_pci_mig *mig);
void mig_shield_on(struct vfio_pci_mig *mig);
void mig_shield_renew(struct vfio_pci_mig *mig);
void mig_shield_sync(struct vfio_pci_mig *mig);
void mig_shield_refresh(struct vfio_pci_mig *mig);
void mig_shield_off(struct vfio_pci_mig *mig);
ssize_t mig_bar_rw(struct vfio_pci_mig *mig, char __user *buf, size_t count,
		   loff_t *ppos, bool write);
int mig_bar_mmap(struct vfio_pci_mig *mig, struct vm_area_struct *vma);
int mig_bar_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
			struct vfio_info_cap *caps);

/**
 * enum mig_point - where faults can be injected, see mig_fault()
 * @MIG_POINT_ANY: every one of them
 * @MIG_POINT_STEP: + enum mig_step: a step of a transition
 * @MIG_POINT_UNDO: + enum mig_step: a step is taken back
 * @MIG_POINT_BACKEND_OPEN: the backend's callbacks: this one
 * @MIG_POINT_BACKEND_RESET: ditto
 * @MIG_POINT_BACKEND_QUIESCE: ditto
 * @MIG_POINT_BACKEND_RELEASE: ditto
 * @MIG_POINT_BACKEND_SAVE: ditto
 * @MIG_POINT_BACKEND_SAVE_AHEAD: ditto
 * @MIG_POINT_BACKEND_PREPARE: ditto
 * @MIG_POINT_BACKEND_LOAD: ditto
 * @MIG_POINT_TRANSACTIONS: waiting for pending transactions
 * @MIG_POINT_FUNCTION_RESET: function reset on the way into RESUMING
 * @MIG_POINT_POWER: waking the device up for loading
 * @MIG_POINT_SESSION: memory for a stream
 * @MIG_POINT_DATA_FD: its file
 * @MIG_POINT_WINDOW: a page of v1's data window
 * @MIG_POINT_SEQUENCE_BEGIN: writing HEADER and IDENTITY
 * @MIG_POINT_SEQUENCE_END: writing END
 * @MIG_POINT_COUNT: number of points; those that the backend has follow
 */
enum mig_point {
	MIG_POINT_ANY,
	MIG_POINT_STEP,
	MIG_POINT_UNDO = MIG_POINT_STEP + MIG_STEP_COUNT,
	MIG_POINT_BACKEND_OPEN = MIG_POINT_UNDO + MIG_STEP_COUNT,
	MIG_POINT_BACKEND_RESET,
	MIG_POINT_BACKEND_QUIESCE,
	MIG_POINT_BACKEND_RELEASE,
	MIG_POINT_BACKEND_SAVE,
	MIG_POINT_BACKEND_SAVE_AHEAD,
	MIG_POINT_BACKEND_PREPARE,
	MIG_POINT_BACKEND_LOAD,
	MIG_POINT_TRANSACTIONS,
	MIG_POINT_FUNCTION_RESET,
	MIG_POINT_POWER,
	MIG_POINT_SESSION,
	MIG_POINT_DATA_FD,
	MIG_POINT_WINDOW,
	MIG_POINT_SEQUENCE_BEGIN,
	MIG_POINT_SEQUENCE_END,
	MIG_POINT_COUNT,
};

/* fault.c */
#ifdef CONFIG_VFIO_PCI_MIGRATION_FAULTS
int mig_fault(struct vfio_pci_mig *mig, unsigned int point);
int mig_fault_record(struct vfio_pci_mig *mig, u16 type, bool get);
void mig_fault_answer(struct vfio_pci_mig *mig);
bool mig_fault_silent(struct vfio_pci_mig *mig);
int mig_fault_init(struct vfio_pci_mig *mig);
void mig_fault_debugfs(struct vfio_pci_mig *mig, struct dentry *dir);
void mig_fault_free(struct vfio_pci_mig *mig);
#else
static inline int mig_fault(struct vfio_pci_mig *mig, unsigned int point)
{
	return 0;
}

static inline int mig_fault_record(struct vfio_pci_mig *mig, u16 type, bool get)
{
	return 0;
}

static inline void mig_fault_answer(struct vfio_pci_mig *mig)
{
}

static inline bool mig_fault_silent(struct vfio_pci_mig *mig)
{
	return false;
}

static inline int mig_fault_init(struct vfio_pci_mig *mig)
{
	return 0;
}

static inline void mig_fault_debugfs(struct vfio_pci_mig *mig,
				     struct dentry *dir)
{
}

static inline void mig_fault_free(struct vfio_pci_mig *mig)
{
}
#endif
/* dirty.c */
void mig_dirty_init(struct vfio_pci_mig *mig);
void mig_dirty_free(struct vfio_pci_mig *mig);
int mig_dirty_open(struct vfio_pci_mig *mig);
void mig_dirty_stop(struct vfio_pci_mig *mig);
void mig_dirty_close(struct vfio_pci_mig *mig);
bool mig_dirty_offered(struct vfio_pci_mig *mig);
int mig_dirty_start(struct vfio_pci_mig *mig, bool pin);
void mig_dirty_end(struct vfio_pci_mig *mig);
void mig_dirty_saving(struct vfio_pci_mig *mig);
void mig_dirty_forward(struct vfio_pci_mig *mig);
void mig_dirty_hold(struct vfio_pci_mig *mig);
void mig_dirty_prepare(struct vfio_pci_mig *mig);
void mig_dirty_resume(struct vfio_pci_mig *mig);
void mig_dirty_settle(struct vfio_pci_mig *mig);
void mig_dirty_unmap(struct vfio_device *vdev, u64 iova, u64 length);

/* log.c */
void mig_log_init(struct vfio_pci_mig *mig);
void mig_log_open(struct vfio_pci_mig *mig);
int mig_log_room(struct vfio_pci_mig *mig, unsigned long index);
void mig_log_mark(struct vfio_pci_mig *mig, unsigned long index);
void mig_log_forget(struct vfio_pci_mig *mig);

/* v1.c */
int mig_v1_open(struct vfio_pci_mig *mig);

/* v2.c */
extern const struct vfio_migration_ops mig_v2_ops;

#endif /* _MIG_CORE_H */
