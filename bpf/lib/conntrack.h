/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Flows: found by their two ends whichever way a packet goes, with the state that says
 * when a flow is over and the verdicts of the endpoints on this node.
 */
#ifndef KINETY_LIB_CONNTRACK_H
#define KINETY_LIB_CONNTRACK_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/packet.h"

#define NANOSECONDS_PER_SECOND 1000000000ULL
#define CONNTRACK_FIN_BOTH (CONNTRACK_FIN_FORWARD | CONNTRACK_FIN_REPLY)

struct flow {
	struct conntrack_entry *entry;   /* null: a new flow */
	_Bool reply;                     /* the packet goes to the one who opened the flow */
};

/* What a proxy answers to the node or the outside passes no endpoint, so its end is not seen. */
static __always_inline _Bool conntrack_is_closed(const struct conntrack_entry *entry)
{
	__u32 ends = CONNTRACK_FIN_BOTH;

	if (config_redirect && entry->flags & CONNTRACK_REDIRECTED && !entry->reply_packets)
		ends = CONNTRACK_FIN_FORWARD;
	return (entry->flags & CONNTRACK_RESET) || (entry->flags & ends) == ends;
}

/* Seconds of silence after which a flow is over. */
static __always_inline __u32 conntrack_lifetime(const struct conntrack_entry *entry, __u8 protocol)
{
	_Bool replied = entry->flags & CONNTRACK_REPLIED;

	if (protocol == IPPROTO_TCP) {
		if (conntrack_is_closed(entry))
			return config_tcp_closing;
		return replied ? config_tcp_established : config_tcp_opening;
	}
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return config_icmp_idle;
	return replied ? config_udp_replied : config_udp_idle;
}

/* Read anew each time: the verifier would go on twice if it knew what the answer was before. */
static __always_inline _Bool conntrack_is_reply(const struct conntrack_entry *entry,
						const struct packet *packet)
{
	return (*(volatile __u32 *)&entry->flags ^ packet->source_high) & CONNTRACK_INITIATOR_HIGH;
}

/* Another processor may have seen a packet in the second that has just begun here. */
static __always_inline _Bool conntrack_is_over(const struct conntrack_entry *entry, __u32 now, __u8 protocol)
{
	return (__s32)(now - entry->last_seen) > (__s32)conntrack_lifetime(entry, protocol);
}

/*
 * The flow of a packet. An entry that is over counts as none: the packet opens a new flow,
 * in its own direction, and is judged as that. So does a SYN on a closed connection, and one
 * that comes back; otherwise the server could call its client and pass as an answer.
 */
static __always_inline void conntrack_find(struct packet *packet, const struct flow_key *key,
					   struct flow *flow)
{
	struct conntrack_entry *entry;
	_Bool opens = packet_opens(packet);

	packet->now = context_time() / NANOSECONDS_PER_SECOND;
	flow->reply = 0;
	flow->entry = (void *)0;
	entry = bpf_map_lookup_elem(&conntrack, key);
	if (!entry)
		return;
	if (conntrack_is_over(entry, packet->now, key->protocol))
		return;
	if (opens && (conntrack_is_reply(entry, packet) || conntrack_is_closed(entry)))
		return;
	flow->entry = entry;
	flow->reply = conntrack_is_reply(entry, packet);
}

static __always_inline __u32 conntrack_flags(const struct packet *packet, _Bool reply)
{
	__u32 flags = reply ? CONNTRACK_REPLIED : 0;

	if (packet->tcp_flags & TCP_FIN)
		flags |= reply ? CONNTRACK_FIN_REPLY : CONNTRACK_FIN_FORWARD;
	if (packet->tcp_flags & TCP_RST)
		flags |= CONNTRACK_RESET;
	return flags;
}

/* Note a packet that passed. Each field is written by one direction's packets, or set once. */
static __always_inline void conntrack_note(const struct packet *packet, const struct flow *flow)
{
	struct conntrack_entry *entry = flow->entry;
	__u32 flags = conntrack_flags(packet, flow->reply);

	if (entry->last_seen != packet->now)
		entry->last_seen = packet->now;
	if ((entry->flags & flags) != flags)
		__sync_fetch_and_or(&entry->flags, flags);
	if (flow->reply) {
		entry->reply_packets++;
		entry->reply_bytes += packet->length;
	} else {
		entry->forward_packets++;
		entry->forward_bytes += packet->length;
	}
}

/*
 * Whether a packet goes another way than the one that opened its flow. To a host port, an endpoint
 * of this node goes by way of the stack, where the destination is rewritten. What comes out has both
 * ends of a flow straight between the two, and may meet the entry of one.
 */
static __always_inline _Bool conntrack_is_astray(const struct flow *flow, __u32 way)
{
	return flow->entry && !flow->reply && ((flow->entry->flags ^ way) & CONNTRACK_ROUTED);
}

/* Whether the answer has to go by way of the stack, which alone can rewrite it. */
static __always_inline _Bool conntrack_is_routed_reply(const struct flow *flow)
{
	return flow->entry && flow->reply && (flow->entry->flags & CONNTRACK_ROUTED);
}

/*
 * Enter a flow that every endpoint on this node allows, with their decisions; `how` says more of it:
 * enum conntrack_flag, and from bit 16 on the port of a listener. Global: an entry is a large part of the stack that there is.
 */
__noinline int conntrack_open(const struct packet *packet, const struct flow_key *key,
			      const struct decision *egress, const struct decision *ingress, __u32 how)
{
	struct conntrack_entry entry = {};

	if (!packet || !key || !egress || !ingress)
		return -REASON_CONNTRACK_FULL;
	entry.last_seen = packet->now;
	entry.flags = (how & 0xffff) | conntrack_flags(packet, 0);
	entry.proxy_port = how >> 16;
	entry.decision[DIRECTION_EGRESS] = *egress;
	entry.decision[DIRECTION_INGRESS] = *ingress;
	entry.forward_packets = 1;
	entry.forward_bytes = packet->length;
	if (packet->source_high)
		entry.flags |= CONNTRACK_INITIATOR_HIGH;
	if (packet->tcp_flags & TCP_SYN)
		entry.flags |= CONNTRACK_SYN;
	return bpf_map_update_elem(&conntrack, key, &entry, BPF_ANY) ? -REASON_CONNTRACK_FULL : 0;
}

#endif
