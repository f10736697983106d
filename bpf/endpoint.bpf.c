/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The two programs at the host side of every endpoint's interface, loaded once per node
 * (or, by the older generations of lib/self.h, once per endpoint).
 * README.md walks a packet through them.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/contract_hash.h"
#include "abi/maps.h"
#include "lib/conntrack.h"
#include "lib/deliver.h"
#include "lib/event.h"
#include "lib/fragment.h"
#include "lib/hook.h"
#include "lib/identity.h"
#include "lib/judge.h"
#include "lib/neighbour.h"
#include "lib/related.h"
#include "lib/self.h"

static __noinline void drop_tell(const struct packet *packet, const struct outcome *outcome, __u8 reason,
				 __u8 direction)
{
	_Bool decided = outcome->rule || reason == REASON_POLICY_DENIED || reason == REASON_PROXY_UNAVAILABLE ||
			reason == REASON_HOOK_DENIED;
	struct occasion occasion = {
		.remote_identity = outcome->remote_identity,
		.rule = outcome->rule,
		.kind = EVENT_DROP,
		.reason = reason,
		.direction = decided ? outcome->direction : direction,
		.verdict = VERDICT_DENY,
		.hook = outcome->hook,
	};

	event_emit(packet, outcome->endpoint, &occasion);
}

/* A program's answer: count it, tell of a drop, and turn it into an action. */
static __always_inline int finish(struct __sk_buff *skb, const struct packet *packet,
				  const struct outcome *outcome, int answer, __u8 direction)
{
	__u32 reason = answer < 0 ? -answer : answer;

	reason_count(reason, direction, skb->len);
	if (answer >= 0)
		return TC_ACT_OK;
	drop_tell(packet, outcome, reason, direction);
	return TC_ACT_SHOT;
}

/* Whether a packet carries the address that its endpoint was given. */
static __always_inline _Bool source_is_own(const struct packet *packet, const struct endpoint *self)
{
	struct address copy;
	const struct address *own = self_address(self, packet->ipv6, &copy);

	return !address_is_zero(own) && address_equal(&packet->source, own);
}

/* Both endpoints' say, when both are here; enters a new flow. */
static __always_inline int judge_both(const struct packet *packet, struct flow *flow,
				      struct endpoint *sender, struct endpoint *receiver,
				      struct outcome *outcome)
{
	struct conntrack_entry fresh = {};
	struct party first = {
		.endpoint = sender,
		.peer = receiver,
		.address = &packet->destination,
		.direction = flow->reply ? DIRECTION_INGRESS : DIRECTION_EGRESS,
	};
	struct party second = {
		.endpoint = receiver,
		.peer = sender,
		.address = &packet->source,
		.direction = flow->reply ? DIRECTION_EGRESS : DIRECTION_INGRESS,
	};
	int error = party_judge(packet, flow, &first, &fresh.decision[DIRECTION_EGRESS], outcome);

	if (error)
		return error;
	if (receiver) {
		error = party_judge(packet, flow, &second, &fresh.decision[DIRECTION_INGRESS], outcome);
		if (error)
			return error;
	}
	if (flow->entry) {
		if (!packet->related)
			conntrack_note(packet, flow);
		return 0;
	}
	if (packet->untracked)
		return 0;
	error = conntrack_open(packet, flow, &fresh);
	if (error)
		return error;
	party_announce(packet, &first, &fresh.decision[DIRECTION_EGRESS]);
	if (receiver)
		party_announce(packet, &second, &fresh.decision[DIRECTION_INGRESS]);
	return 0;
}

static __noinline int hear_neighbour(struct __sk_buff *skb, const struct packet *packet, struct endpoint *self)
{
	struct endpoint facts;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return config_ipv4 ? neighbour_arp(skb, self_facts(self, &facts)) : -REASON_IP_VERSION_DISABLED;
	return neighbour_discovery(skb, self_facts(self, &facts), packet);
}

/* May the packet leave, and where to? */
static __noinline int leave_endpoint(struct __sk_buff *skb, struct packet *packet, struct endpoint *self,
				     struct endpoint **to, struct outcome *outcome)
{
	struct endpoint *receiver;
	struct flow flow = {};
	int error;

	/* Neighbours are answered before: a lost question is repeated only after a second. */
	if (!endpoint_is_ready(self))
		return -REASON_ENDPOINT_NOT_READY;
	if (address_is_multicast(&packet->destination))
		return -REASON_MULTICAST;
	if (!source_is_own(packet, self))
		return -REASON_SOURCE_ADDRESS;
	receiver = endpoint_of_address(&packet->destination);
	if (receiver && !endpoint_is_ready(receiver))
		return -REASON_DESTINATION_NOT_READY;
	error = related_find(skb, packet, &flow);
	if (error)
		return error;
	/* An endpoint is no router: it tells only of packets that it was sent. */
	if (packet->related && !source_is_own(packet, self))
		return -REASON_ICMP_MALFORMED;
	error = judge_both(packet, &flow, self, receiver, outcome);
	if (error)
		return error;
	if (!receiver)
		return REASON_FORWARDED_STACK;
	*to = receiver;
	return REASON_FORWARDED_LOCAL;
}

static __always_inline int handle_leaving(struct __sk_buff *skb, struct packet *packet, struct endpoint *self,
					  struct endpoint **to, struct outcome *outcome)
{
	int error;

	if (!self || self->interface != skb->ifindex)
		return -REASON_ENDPOINT_NOT_READY;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return hear_neighbour(skb, packet, self);
	error = packet_parse(skb, packet);
	if (error)
		return error;
	if (neighbour_is_discovery(packet))
		return hear_neighbour(skb, packet, self);
	return leave_endpoint(skb, packet, self, to, outcome);
}

/* The filters of both ends of a packet that policy allows; an end that is not here has none. */
static __always_inline int ask_hooks(struct __sk_buff *skb, const struct packet *packet,
				     const struct endpoint *sender, const struct endpoint *receiver,
				     struct outcome *outcome)
{
	int error = sender ? hook_judge(skb, packet, outcome, sender, DIRECTION_EGRESS) : 0;

	return error || !receiver ? error : hook_judge(skb, packet, outcome, receiver, DIRECTION_INGRESS);
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	struct endpoint *self = self_row(skb);
	struct endpoint *receiver = (void *)0;
	struct outcome outcome = { .endpoint = self, .hooks = hook_slots() };
	struct packet packet = {};
	int answer, action, error;

	/* Marks mean something to the node; an endpoint has no say in them. */
	skb->mark = 0;
	self_count(DIRECTION_EGRESS);
	answer = handle_leaving(skb, &packet, self, &receiver, &outcome);
	if (outcome.hooks && outcome.passed && answer >= 0) {
		error = ask_hooks(skb, &packet, self, receiver, &outcome);
		answer = error ? error : answer;
	}
	if (answer == REASON_FORWARDED_LOCAL && receiver)
		answer = deliver_local(skb, &packet, receiver);
	action = finish(skb, &packet, &outcome, answer, DIRECTION_EGRESS);
	if (answer == REASON_FORWARDED_LOCAL && receiver)
		return bpf_redirect_peer(receiver->interface, 0);
	if (answer == REASON_ANSWERED)
		return bpf_redirect_peer(skb->ifindex, 0);
	return action;
}

/* Who sent a packet that came through the node's stack: an endpoint must have come its own way. */
static __always_inline int sender_of(struct __sk_buff *skb, const struct packet *packet,
				     struct endpoint **sender)
{
	*sender = endpoint_of_address(&packet->source);
	if (!*sender || !skb->ingress_ifindex)
		return 0;
	return (*sender)->interface == skb->ingress_ifindex ? 0 : -REASON_SOURCE_SPOOFED;
}

static __always_inline int judge_receiver(struct __sk_buff *skb, const struct packet *packet,
					  struct flow *flow, struct endpoint *self,
					  struct endpoint *sender, struct outcome *outcome)
{
	_Bool from_node = !skb->ingress_ifindex && !flow->reply && !packet->related;
	struct conntrack_entry fresh = {};
	struct decision *decision = &fresh.decision[DIRECTION_INGRESS];
	struct party party = {
		.endpoint = self,
		.peer = from_node ? (void *)0 : sender,
		.address = &packet->source,
		.direction = flow->reply ? DIRECTION_EGRESS : DIRECTION_INGRESS,
		.from_node = from_node,
		.forwarded = skb->ingress_ifindex && !flow->reply && !packet->related,
	};
	int error = party_judge(packet, flow, &party, decision, outcome);

	if (error)
		return error;
	if (flow->entry) {
		if (!packet->related)
			conntrack_note(packet, flow);
		return 0;
	}
	if (packet->untracked)
		return 0;
	error = conntrack_open(packet, flow, &fresh);
	if (!error)
		party_announce(packet, &party, decision);
	return error;
}

static __noinline int enter_endpoint(struct __sk_buff *skb, struct packet *packet, struct endpoint *self,
				     struct outcome *outcome)
{
	struct endpoint *sender;
	struct flow flow = {};
	int error;

	/* The node may ask its own neighbours. */
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return skb->ingress_ifindex ? -REASON_NEIGHBOUR_IGNORED : REASON_FORWARDED_ENDPOINT;
	error = packet_parse(skb, packet);
	if (error)
		return error;
	if (neighbour_is_discovery(packet) && !skb->ingress_ifindex)
		return REASON_FORWARDED_ENDPOINT;
	if (address_is_multicast(&packet->destination))
		return -REASON_MULTICAST;
	error = sender_of(skb, packet, &sender);
	if (error)
		return error;
	error = related_find(skb, packet, &flow);
	if (error)
		return error;
	if (packet->related) {
		/* Packets between endpoints of this node pass no router; only the node itself tells of them. */
		sender = endpoint_of_address(&packet->source);
		if (sender && skb->ingress_ifindex)
			return -REASON_ICMP_MALFORMED;
	}
	error = judge_receiver(skb, packet, &flow, self, sender, outcome);
	return error ? error : REASON_FORWARDED_ENDPOINT;
}

SEC("tc")
int to_endpoint(struct __sk_buff *skb)
{
	struct endpoint *self = self_row(skb);
	struct outcome outcome = { .endpoint = self, .hooks = hook_slots() };
	struct packet packet = {};
	int answer, error;

	self_count(DIRECTION_INGRESS);
	if (endpoint_is_ready(self))
		answer = enter_endpoint(skb, &packet, self, &outcome);
	else
		answer = -REASON_ENDPOINT_NOT_READY;
	if (outcome.hooks && outcome.passed && answer >= 0) {
		error = ask_hooks(skb, &packet, (void *)0, self, &outcome);
		answer = error ? error : answer;
	}
	return finish(skb, &packet, &outcome, answer, DIRECTION_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
