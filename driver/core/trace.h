/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace points of the core, see Documentation/trace.rst. Names of states and
 * the like are copied as text: they can be read, and filtered by, without
 * tables that would have to be kept up to date.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vfio_pci_migration

#if !defined(_MIG_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _MIG_TRACE_H

#include <linux/ktime.h>
#include <linux/pci.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "core.h"

/* For a PCI name, with a long domain; a state, step or phase; a sentence. */
#define MIG_TRACE_DEV		16
#define MIG_TRACE_WORD		24
#define MIG_TRACE_SENTENCE	80

TRACE_EVENT(mig_transition,
	TP_PROTO(struct vfio_pci_mig *mig, u32 from, u32 to, const char *door,
		 ktime_t began, int ret),
	TP_ARGS(mig, from, to, door, began, ret),
	TP_STRUCT__entry(
		__array(char, dev, MIG_TRACE_DEV)
		__array(char, from, MIG_TRACE_WORD)
		__array(char, to, MIG_TRACE_WORD)
		__array(char, reached, MIG_TRACE_WORD)
		__array(char, door, MIG_TRACE_WORD)
		__field(s64, us)
		__field(int, ret)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(mig->core.pdev), MIG_TRACE_DEV);
		strscpy(__entry->from, mig_state_name(from), MIG_TRACE_WORD);
		strscpy(__entry->to, mig_state_name(to), MIG_TRACE_WORD);
		strscpy(__entry->reached, mig_state_name(mig->state),
			MIG_TRACE_WORD);
		strscpy(__entry->door, door, MIG_TRACE_WORD);
		__entry->us = ktime_us_delta(ktime_get(), began);
		__entry->ret = ret;
	),
	TP_printk("%s door=%s from=%s to=%s reached=%s us=%lld ret=%d",
		  __entry->dev, __entry->door, __entry->from, __entry->to,
		  __entry->reached, __entry->us, __entry->ret)
);

TRACE_EVENT(mig_step,
	TP_PROTO(struct vfio_pci_mig *mig, const char *step, bool undo,
		 ktime_t began, int ret,
		 const struct mig_accesses *accesses),
	TP_ARGS(mig, step, undo, began, ret, accesses),
	TP_STRUCT__entry(
		__array(char, dev, MIG_TRACE_DEV)
		__array(char, step, MIG_TRACE_WORD)
		__field(bool, undo)
		__field(s64, us)
		__field(int, ret)
		__field(unsigned long, reads)
		__field(unsigned long, writes)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(mig->core.pdev), MIG_TRACE_DEV);
		strscpy(__entry->step, step, MIG_TRACE_WORD);
		__entry->undo = undo;
		__entry->us = ktime_us_delta(ktime_get(), began);
		__entry->ret = ret;
		__entry->reads = accesses->reads;
		__entry->writes = accesses->writes;
	),
	TP_printk("%s step='%s' undo=%d us=%lld ret=%d reads=%lu writes=%lu",
		  __entry->dev, __entry->step, __entry->undo, __entry->us,
		  __entry->ret, __entry->reads, __entry->writes)
);

TRACE_EVENT(mig_phase,
	TP_PROTO(struct vfio_pci_mig *mig, const char *phase, ktime_t began,
		 const struct mig_accesses *accesses),
	TP_ARGS(mig, phase, began, accesses),
	TP_STRUCT__entry(
		__array(char, dev, MIG_TRACE_DEV)
		__array(char, phase, MIG_TRACE_WORD)
		__field(s64, us)
		__field(unsigned long, reads)
		__field(unsigned long, writes)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(mig->core.pdev), MIG_TRACE_DEV);
		strscpy(__entry->phase, phase, MIG_TRACE_WORD);
		__entry->us = ktime_us_delta(ktime_get(), began);
		__entry->reads = accesses->reads;
		__entry->writes = accesses->writes;
	),
	TP_printk("%s phase='%s' us=%lld reads=%lu writes=%lu", __entry->dev,
		  __entry->phase, __entry->us, __entry->reads, __entry->writes)
);

TRACE_EVENT(mig_record,
	TP_PROTO(struct vfio_pci_mig *mig, bool incoming,
		 const struct vfio_mig_record *record),
	TP_ARGS(mig, incoming, record),
	TP_STRUCT__entry(
		__array(char, dev, MIG_TRACE_DEV)
		__field(bool, incoming)
		__field(u32, sequence)
		__field(u32, index)
		__field(u16, type)
		__field(u32, length)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(mig->core.pdev), MIG_TRACE_DEV);
		__entry->incoming = incoming;
		__entry->sequence = le32_to_cpu(record->sequence);
		__entry->index = le32_to_cpu(record->index);
		__entry->type = le16_to_cpu(record->type);
		__entry->length = le32_to_cpu(record->length);
	),
	TP_printk("%s %s sequence=%u index=%u type=%#x length=%u", __entry->dev,
		  __entry->incoming ? "in" : "out", __entry->sequence,
		  __entry->index, __entry->type, __entry->length)
);

TRACE_EVENT(mig_refusal,
	TP_PROTO(struct vfio_pci_mig *mig, int error, const char *reason),
	TP_ARGS(mig, error, reason),
	TP_STRUCT__entry(
		__array(char, dev, MIG_TRACE_DEV)
		__field(int, error)
		__array(char, reason, MIG_TRACE_SENTENCE)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(mig->core.pdev), MIG_TRACE_DEV);
		__entry->error = error;
		strscpy(__entry->reason, reason, MIG_TRACE_SENTENCE);
	),
	TP_printk("%s error=%d reason='%s'", __entry->dev, __entry->error,
		  __entry->reason)
);

TRACE_EVENT(mig_reset,
	TP_PROTO(struct vfio_pci_mig *mig, const char *why, int ret),
	TP_ARGS(mig, why, ret),
	TP_STRUCT__entry(
		__array(char, dev, MIG_TRACE_DEV)
		__array(char, why, MIG_TRACE_WORD)
		__array(char, state, MIG_TRACE_WORD)
		__field(int, ret)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(mig->core.pdev), MIG_TRACE_DEV);
		strscpy(__entry->why, why, MIG_TRACE_WORD);
		strscpy(__entry->state, mig_state_name(mig->state),
			MIG_TRACE_WORD);
		__entry->ret = ret;
	),
	TP_printk("%s why='%s' state=%s ret=%d", __entry->dev, __entry->why,
		  __entry->state, __entry->ret)
);

#endif /* _MIG_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
