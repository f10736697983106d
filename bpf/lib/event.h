/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Counting and telling. Neither ever changes what happens to a packet. */
#ifndef KINETY_LIB_EVENT_H
#define KINETY_LIB_EVENT_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/identity.h"
#include "lib/packet.h"

static __always_inline void counter_add(struct counter *counter, __u32 bytes)
{
	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

static __always_inline void reason_count(__u32 reason, __u32 direction, __u32 bytes)
{
	__u32 row = reason * DIRECTION_COUNT + direction;

	counter_add(bpf_map_lookup_elem(&counters, &row), bytes);
}

static __always_inline void rule_count(__u32 rule, __u32 bytes)
{
	counter_add(bpf_map_lookup_elem(&rule_counters, &rule), bytes);
}

/* What an event says beyond its packet. */
struct occasion {
	__u32 remote_identity;
	__u32 rule;
	__u32 rule_in_force;      /* EVENT_SHADOW only, as is verdict_in_force */
	__u8 kind;                /* enum event_kind */
	__u8 reason;              /* enum reason */
	__u8 direction;           /* enum direction */
	__u8 verdict;             /* enum verdict */
	__u8 verdict_in_force;
	__u8 hook;                /* REASON_HOOK_DENIED only: slot of the filter, plus one */
};

/* A global function: rare, so the programs stay small; verified once. Its result means nothing. */
__noinline int event_write(const struct packet *packet, const struct endpoint *endpoint,
			   const struct occasion *occasion)
{
	struct event *event;

	if (config_event_level == EVENT_LEVEL_NONE || !packet || !occasion)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__u32 row = 0;
		__u64 *lost = bpf_map_lookup_elem(&lost_events, &row);

		if (lost)
			(*lost)++;
		return 0;
	}
	event->time = bpf_ktime_get_ns();
	event->endpoint = endpoint ? endpoint->id : 0;
	event->local_identity = endpoint ? endpoint_identity(endpoint, packet->ipv6) : IDENTITY_UNKNOWN;
	event->remote_identity = occasion->remote_identity;
	event->rule = occasion->rule;
	event->source = packet->source;
	event->destination = packet->destination;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->protocol = packet->protocol;
	event->kind = occasion->kind;
	event->reason = occasion->reason;
	event->direction = occasion->direction;
	event->verdict = occasion->verdict;
	event->tcp_flags = packet->tcp_flags;
	event->length = packet->length;
	event->rule_in_force = occasion->rule_in_force;
	event->verdict_in_force = occasion->verdict_in_force;
	event->hook = occasion->hook;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void event_emit(const struct packet *packet, const struct endpoint *endpoint,
				       const struct occasion *occasion)
{
	if (config_event_level != EVENT_LEVEL_NONE)
		event_write(packet, endpoint, occasion);
}

#endif
