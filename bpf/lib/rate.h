/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How much an endpoint may send or receive: what comes faster is dropped, and waits nowhere.
 *
 * A token bucket, kept as the moment when all that passed would have gone by at the rate (virtual
 * scheduling, ITU-T I.371, A). A packet passes unless that moment is further ahead than the burst
 * lets it be, and then moves it on by its own length. So a packet larger than the burst passes, too,
 * and is paid for afterwards: senders hand over up to 64 KiB in one piece.
 */
#ifndef KINETY_LIB_RATE_H
#define KINETY_LIB_RATE_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/identity.h"

/* Not 0 when it has one. A number and no question: the verifier would go on twice. */
static __always_inline __u8 rate_is_limited(const struct endpoint *endpoint, __u32 direction)
{
	if (!config_bandwidth)
		return 0;
	return *(volatile __u32 *)&endpoint->flags & (ENDPOINT_LIMITED_EGRESS << direction);
}

/*
 * 0 when the packet may pass, else a negative reason. Two processors may find room for one packet
 * each where there was room for one; both are paid for.
 */
static __always_inline int rate_take(const struct __sk_buff *skb, const struct endpoint *endpoint, __u32 direction)
{
	__u32 row = (endpoint->interface - config_interface_base) * DIRECTION_COUNT + direction;
	struct rate *rate = bpf_map_lookup_elem(&rates, &row);
	__u64 now, due, next, cost;

	if (!rate)
		return 0;
	now = bpf_ktime_get_ns();
	due = *(volatile __u64 *)&rate->due;
	if ((__s64)(due - now) > (__s64)rate->burst) {
		__sync_fetch_and_add(&rate->dropped_packets, 1);
		__sync_fetch_and_add(&rate->dropped_bytes, skb->len);
		return -REASON_RATE_EXCEEDED;
	}
	cost = skb->len * rate->cost / RATE_COST_NANOSECOND;
	next = ((__s64)(due - now) > 0 ? due : now) + cost;
	if (__sync_val_compare_and_swap(&rate->due, due, next) != due)
		__sync_fetch_and_add(&rate->due, cost);
	return 0;
}

/*
 * What becomes of an answer by the limits of a sender and a receiver: slots in endpoints, plus one,
 * or 0. Global: few endpoints have one.
 */
__noinline int rate_judge(const struct __sk_buff *skb, int answer, __u32 sender, __u32 receiver)
{
	struct endpoint *endpoint;
	int error = 0;

	if (!config_bandwidth || answer < 0)
		return answer;
	endpoint = endpoint_at(sender - 1);
	if (endpoint && rate_is_limited(endpoint, DIRECTION_EGRESS))
		error = rate_take(skb, endpoint, DIRECTION_EGRESS);
	endpoint = endpoint_at(receiver - 1);
	if (!error && endpoint && rate_is_limited(endpoint, DIRECTION_INGRESS))
		error = rate_take(skb, endpoint, DIRECTION_INGRESS);
	return error ? error : answer;
}

#endif
