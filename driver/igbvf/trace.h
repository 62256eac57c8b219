/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace points of the 82576 VF, see Documentation/trace.rst.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM igbvf_vfio_pci

#if !defined(_IGBVF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _IGBVF_TRACE_H

#include <linux/ktime.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "igbvf.h"

#define IGBVF_TRACE_DEV		16	/* a PCI name, with a long domain */

#define igbvf_trace_message(word)				\
	__print_symbolic((word) & 0xffff,			\
			 { 1, "RESET" },			\
			 { 2, "SET_MAC" },			\
			 { 3, "SET_MULTICAST" },		\
			 { 4, "SET_VLAN" },			\
			 { 5, "SET_LPE" },			\
			 { 6, "SET_PROMISC" })

TRACE_EVENT(igbvf_mbx_request,
	TP_PROTO(struct igbvf *vf, bool ours, u32 word0, u32 word1),
	TP_ARGS(vf, ours, word0, word1),
	TP_STRUCT__entry(
		__array(char, dev, IGBVF_TRACE_DEV)
		__field(bool, ours)
		__field(u32, word0)
		__field(u32, word1)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(vfio_pci_mig_pdev(vf->mig)),
			IGBVF_TRACE_DEV);
		__entry->ours = ours;
		__entry->word0 = word0;
		__entry->word1 = word1;
	),
	TP_printk("%s by=%s %s word0=%#010x word1=%#010x", __entry->dev,
		  __entry->ours ? "driver" : "guest",
		  igbvf_trace_message(__entry->word0), __entry->word0,
		  __entry->word1)
);

TRACE_EVENT(igbvf_mbx_answer,
	TP_PROTO(struct igbvf *vf, bool ours, u32 word, ktime_t sent, int ret),
	TP_ARGS(vf, ours, word, sent, ret),
	TP_STRUCT__entry(
		__array(char, dev, IGBVF_TRACE_DEV)
		__field(bool, ours)
		__field(u32, word)
		__field(s64, us)
		__field(int, ret)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(vfio_pci_mig_pdev(vf->mig)),
			IGBVF_TRACE_DEV);
		__entry->ours = ours;
		__entry->word = word;
		__entry->us = ktime_us_delta(ktime_get(), sent);
		__entry->ret = ret;
	),
	TP_printk("%s by=%s %s %s word0=%#010x us=%lld ret=%d", __entry->dev,
		  __entry->ours ? "driver" : "guest",
		  igbvf_trace_message(__entry->word),
		  __entry->ret ? "none" :
		  __entry->word & IGBVF_MSG_ACK ? "ACK" : "NACK",
		  __entry->word, __entry->us, __entry->ret)
);

TRACE_EVENT(igbvf_queue,
	TP_PROTO(struct igbvf *vf, unsigned int ring, const char *what,
		 ktime_t began, int ret),
	TP_ARGS(vf, ring, what, began, ret),
	TP_STRUCT__entry(
		__array(char, dev, IGBVF_TRACE_DEV)
		__field(unsigned int, ring)
		__array(char, what, 8)
		__field(s64, us)
		__field(int, ret)
	),
	TP_fast_assign(
		strscpy(__entry->dev, pci_name(vfio_pci_mig_pdev(vf->mig)),
			IGBVF_TRACE_DEV);
		__entry->ring = ring;
		strscpy(__entry->what, what, 8);
		__entry->us = ktime_us_delta(ktime_get(), began);
		__entry->ret = ret;
	),
	TP_printk("%s queue=%s %s us=%lld ret=%d", __entry->dev,
		  __print_symbolic(__entry->ring, { 0, "RX0" }, { 1, "RX1" },
				   { 2, "TX0" }, { 3, "TX1" }),
		  __entry->what, __entry->us, __entry->ret)
);

#endif /* _IGBVF_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
