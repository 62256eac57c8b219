// SPDX-License-Identifier: GPL-2.0
#include <errno.h>

#include "arcs.h"
#include "harness.h"

static bool is_precopy(u32 state)
{
	return state == VFIO_DEVICE_STATE_PRE_COPY ||
	       state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

const u32 quiet_states[QUIET_STATES] = {
	VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_STOP,
	VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P,
	VFIO_DEVICE_STATE_RESUMING,
};

bool next_quiet(struct vf *vf, unsigned int *n, unsigned int limit)
{
	while (*n < limit && !vf_state_offered(vf, quiet_states[*n]))
		++*n;
	return *n < limit;
}

/* Every path out of RESUMING begins with RESUMING -> STOP, which wants data. */
int arc_result(struct vf *vf, u32 from, u32 to)
{
	if (!vf_state_offered(vf, to))
		return -EINVAL;
	if (from == to)
		return 0;
	if (from == VFIO_DEVICE_STATE_STOP_COPY && is_precopy(to))
		return -EINVAL;
	return from == VFIO_DEVICE_STATE_RESUMING ? -ENODATA : 0;
}

bool arc_opens_stream(u32 from, u32 to)
{
	if (from == to)
		return false;
	if (is_precopy(from))
		return to == VFIO_DEVICE_STATE_RESUMING;
	return to == VFIO_DEVICE_STATE_STOP_COPY ||
	       to == VFIO_DEVICE_STATE_RESUMING || is_precopy(to);
}

void arc_go(struct vf *vf, u32 state)
{
	if (vf_get_state(vf) == VFIO_DEVICE_STATE_RESUMING &&
	    state != VFIO_DEVICE_STATE_RESUMING)
		ASSERT_EQ(0, vf_reset(vf));
	ASSERT_EQ(0, vf_set_state(vf, VFIO_DEVICE_STATE_RUNNING, NULL));
	ASSERT_EQ(0, vf_set_state(vf, state, NULL));
	ASSERT_EQ((int)state, vf_get_state(vf));
}
