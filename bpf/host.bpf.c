/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The two programs for the node's own packets, at the hooks of netfilter where the node is the one
 * that receives or sends: what it forwards passes neither, and addresses are those that its processes
 * see. They are attached while a policy selects the node. README.md walks a packet through them.
 */
#define CONTEXT_NETFILTER

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/answer.h"
#include "lib/conntrack.h"
#include "lib/context.h"
#include "lib/exempt.h"
#include "lib/flow.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/related.h"

/*
 * The node's say about a packet. A peer that is an endpoint of this node has counted it, or will:
 * it is judged there, too, and both decisions are in one entry.
 */
static __always_inline int host_judge(const struct packet *packet, struct flow_key *key,
				      const struct flow *flow, const struct endpoint *host,
				      struct party *party, struct outcome *outcome)
{
	struct conntrack_entry *entry = flow->entry;
	_Bool leaves = party->direction == DIRECTION_EGRESS;
	_Bool first;
	int error;

	if (!entry) {
		error = flow_open(packet, key, leaves ? host : (void *)0, leaves ? (void *)0 : host, outcome);
		entry = party->known && !error ? bpf_map_lookup_elem(&conntrack, key) : (void *)0;
		if (entry) {
			entry->forward_packets = 0;
			entry->forward_bytes = 0;
		}
		return error;
	}
	first = !entry->decision[party_direction(party)].epoch;
	error = party_judge(packet, host, entry, party, outcome);
	if (error || packet->related)
		return error;
	if (!party->known)
		conntrack_note(packet, flow);
	if (first && config_event_level == EVENT_LEVEL_FLOWS)
		decision_tell(packet, host, &entry->decision[party_direction(party)], party_direction(party),
			      EVENT_NEW_FLOW);
	return 0;
}

/*
 * The node speaks with itself. The interface alone does not say so: it is the one that the packet had
 * before its destination was rewritten, as that of a host port is.
 */
static __always_inline _Bool stays_here(context *ctx, const struct packet *packet)
{
	const struct address *to = &packet->destination;

	if (context_interface_out(ctx) != LOOPBACK_INTERFACE)
		return 0;
	return address_is_loopback(to) || address_is_loopback_ipv6(to) || address_is_multicast(to) ||
	       identity_of_address(to) == IDENTITY_HOST;
}

/* May the node send it? Global: see packet_parse. */
__noinline int leave_host(context *ctx, struct packet *packet, struct outcome *outcome)
{
	struct endpoint *host = self_row(ctx);
	struct flow_key key = {};
	struct flow flow = {};
	struct party *party;
	int error;

	if (!packet || !outcome || !endpoint_is_ready(host))
		return -REASON_ENDPOINT_NOT_READY;
	/* What a proxy says is its client's and its server's, and judged where they are. */
	if (mark_leads_to_proxy(context_mark(ctx)) || mark_comes_from_proxy(context_mark(ctx)))
		return REASON_HOST_EXEMPT;
	error = packet_parse(ctx, packet, &key, context_protocol(ctx), CONTEXT_NETWORK);
	if (error)
		return error;
	/* Errors tell of packets that were let in, or that the node forwards: no flow of its own. */
	if (stays_here(ctx, packet) || exempt(packet, DIRECTION_EGRESS) || packet_quotes(packet))
		return REASON_HOST_EXEMPT;
	error = related_find(ctx, packet, &key, &flow);
	if (error)
		return error;
	party = &outcome->party[DIRECTION_EGRESS];
	party_set(party, packet, DIRECTION_EGRESS, flow.reply, endpoint_of_address(&packet->destination));
	error = host_judge(packet, &key, &flow, host, party, outcome);
	return error ? error : REASON_HOST_ALLOWED;
}

SEC("netfilter")
int from_host(struct bpf_nf_ctx *ctx)
{
	struct outcome outcome = {};
	struct packet packet = {};

	return finish(ctx, &packet, &outcome, leave_host(ctx, &packet, &outcome), DIRECTION_EGRESS);
}

/* The listener that sent a packet to the node itself, in the name of a client, or 0: global, so nobody knows which. */
__noinline __u32 listener_of(context *ctx)
{
	__u32 mark;

	barrier_var(ctx);
	mark = context_mark(ctx);
	return context_interface_in(ctx) == LOOPBACK_INTERFACE && mark_comes_from_proxy(mark) ? mark >> 16 : 0;
}

/* May the node receive it? Global: see packet_parse. */
__noinline int enter_host(context *ctx, struct packet *packet, struct outcome *outcome)
{
	__u32 interface = context_interface_in(ctx);
	struct endpoint *host = self_row(ctx);
	struct endpoint *sender;
	struct flow_key key = {};
	struct flow flow = {};
	struct party *party;
	int error;

	if (!packet || !outcome || !endpoint_is_ready(host))
		return -REASON_ENDPOINT_NOT_READY;
	if (mark_leads_to_proxy(context_mark(ctx)))
		return REASON_HOST_EXEMPT;
	error = packet_parse(ctx, packet, &key, context_protocol(ctx), CONTEXT_NETWORK);
	if (error)
		return error;
	if (exempt(packet, DIRECTION_INGRESS))
		return REASON_HOST_EXEMPT;
	outcome->sender_port = listener_of(ctx);
	key.proxied = !!outcome->sender_port;
	sender = endpoint_of_address(&packet->source);
	if (sender && interface && sender->interface != interface && !outcome->sender_port)
		return -REASON_SOURCE_SPOOFED;
	error = related_find(ctx, packet, &key, &flow);
	if (error < 0)
		return error;
	if (error == RELATED_BY_OTHER) {
		/* Between the node and its endpoints there is no router that could tell of anything. */
		sender = endpoint_of_address(&packet->source);
		if (sender)
			return -REASON_ICMP_MALFORMED;
	}
	party = &outcome->party[DIRECTION_INGRESS];
	party_set(party, packet, DIRECTION_INGRESS, flow.reply, sender);
	/* It came in by an interface: it is not the node's, whatever its source says. */
	party->forwarded = 1;
	error = host_judge(packet, &key, &flow, host, party, outcome);
	return error ? error : REASON_HOST_ALLOWED;
}

SEC("netfilter")
int to_host(struct bpf_nf_ctx *ctx)
{
	struct outcome outcome = {};
	struct packet packet = {};

	if (context_interface_in(ctx) == LOOPBACK_INTERFACE && !mark_comes_from_proxy(context_mark(ctx)))
		return CONTEXT_PASS;
	return finish(ctx, &packet, &outcome, enter_host(ctx, &packet, &outcome), DIRECTION_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
