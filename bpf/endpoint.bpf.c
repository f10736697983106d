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
#include "lib/answer.h"
#include "lib/conntrack.h"
#include "lib/deliver.h"
#include "lib/flow.h"
#include "lib/fragment.h"
#include "lib/hook.h"
#include "lib/identity.h"
#include "lib/neighbour.h"
#include "lib/proxy.h"
#include "lib/rate.h"
#include "lib/redirect.h"
#include "lib/related.h"
#include "lib/self.h"

/* Whether a packet carries the address that its endpoint was given. */
static __always_inline _Bool source_is_own(const struct packet *packet, const struct endpoint *self)
{
	struct address copy;
	const struct address *own = self_address(self, packet->ipv6, &copy);

	return !address_is_zero(own) && address_equal(&packet->source, own);
}

/* The endpoint of this node that is to receive a packet, noted in the outcome; null when it is not here. */
static __always_inline struct endpoint *receiver_of(const struct packet *packet, struct outcome *outcome)
{
	struct local_address *local = local_of_address(&packet->destination);
	struct endpoint *receiver;

	if (!local)
		return (void *)0;
	outcome->receiver = local->slot + 1;
	receiver = endpoint_at(local->slot);
	if (receiver)
		outcome->limited |= rate_is_limited(receiver, DIRECTION_INGRESS);
	return receiver;
}

/* May the packet leave, and where to? Global: see packet_parse. */
__noinline int leave_endpoint(struct __sk_buff *skb, struct packet *packet, const struct endpoint *self,
			      struct outcome *outcome)
{
	struct endpoint *peer, *receiver;
	struct flow_key key = {};
	struct flow flow = {};
	int error;

	if (!packet || !outcome || !self || self->interface != skb->ifindex)
		return -REASON_ENDPOINT_NOT_READY;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return neighbour_hear(skb, packet, self);
	error = packet_parse(skb, packet, &key, skb->protocol, ETH_HLEN);
	if (error)
		return error;
	if (neighbour_is_discovery(packet))
		return neighbour_hear(skb, packet, self);
	/* Neighbours are answered before: a lost question is repeated only after a second. */
	if (!endpoint_is_ready(self))
		return -REASON_ENDPOINT_NOT_READY;
	if (address_is_multicast(&packet->destination))
		return -REASON_MULTICAST;
	if (!source_is_own(packet, self))
		return -REASON_SOURCE_ADDRESS;
	outcome->limited = rate_is_limited(self, DIRECTION_EGRESS);
	receiver = receiver_of(packet, outcome);
	if (outcome->receiver && !endpoint_is_ready(receiver))
		return -REASON_DESTINATION_NOT_READY;
	error = related_find(skb, packet, &key, &flow);
	if (error < 0)
		return error;
	/* An endpoint is no router: it tells only of packets that it was sent. */
	if (error == RELATED_BY_OTHER)
		return -REASON_ICMP_MALFORMED;
	peer = receiver;
	if (peer && conntrack_is_routed_reply(&flow)) {
		outcome->receiver = 0;
		receiver = (void *)0;
	}
	if (peer && conntrack_is_astray(&flow, 0))
		flow.entry = (void *)0;
	/* What the server of a proxy says to its client is the proxy's. */
	if (key.proxied && flow.entry) {
		redirect_answer(flow.entry, outcome);
		outcome->receiver = 0;
		receiver = (void *)0;
	}
	party_set(&outcome->party[DIRECTION_EGRESS], packet, DIRECTION_EGRESS, flow.reply, peer);
	party_set(&outcome->party[DIRECTION_INGRESS], packet, DIRECTION_INGRESS, flow.reply, self);
	error = flow_judge(packet, &key, &flow, self, receiver, outcome, 0);
	if (error)
		return error;
	outcome->passed = 1;
	return receiver ? REASON_FORWARDED_LOCAL : REASON_FORWARDED_STACK;
}

/* The filters of both ends of a packet that policy allows; an end that is not here has none. */
static __always_inline int ask_hooks(struct __sk_buff *skb, const struct packet *packet,
				     struct outcome *outcome)
{
	struct endpoint *self = self_row(skb), *receiver = endpoint_at(outcome->receiver - 1);
	int error = 0;

	if (self)
		error = hook_judge(skb, packet, self, &outcome->party[DIRECTION_EGRESS], outcome);
	if (!error && receiver)
		error = hook_judge(skb, packet, receiver, &outcome->party[DIRECTION_INGRESS], outcome);
	return error;
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	struct outcome outcome = {};
	struct packet packet = {};
	struct endpoint *receiver;
	__u32 interface = skb->ifindex, mark = skb->mark;
	int answer, action, error;

	/* Marks mean something to the node; an endpoint has no say in them. */
	skb->mark = 0;
	if (mark_leads_to_proxy(mark)) {
		answer = proxy_arrive(skb, &packet, &outcome, mark);
		return finish(skb, &packet, &outcome, answer, DIRECTION_INGRESS);
	}
	self_count(DIRECTION_EGRESS);
	answer = leave_endpoint(skb, &packet, self_row(skb), &outcome);
	/* A proxy receives it; its receiver is asked about what the proxy sends on. */
	if (outcome.proxy == PROXY_SOCKET)
		outcome.receiver = 0;
	if (outcome.passed && hook_slots()) {
		error = ask_hooks(skb, &packet, &outcome);
		answer = error ? error : answer;
	}
	if (outcome.limited)
		answer = rate_judge(skb, answer, interface - config_interface_base + 1, outcome.receiver);
	if (config_redirect && outcome.proxy)
		answer = proxy_lead(skb, &packet, &outcome, answer);
	if (answer == REASON_FORWARDED_LOCAL) {
		receiver = endpoint_at(outcome.receiver - 1);
		answer = receiver ? deliver_local(skb, &packet, receiver) : -REASON_DESTINATION_NOT_READY;
		interface = receiver ? receiver->interface : 0;
	}
	action = finish(skb, &packet, &outcome, answer, DIRECTION_EGRESS);
	if (answer == REASON_FORWARDED_LOCAL || answer == REASON_ANSWERED)
		return bpf_redirect_peer(interface, 0);
	if (answer == REASON_FORWARDED_PROXY && outcome.proxy == PROXY_LISTENER)
		return bpf_redirect(NAT_LOOPBACK, BPF_F_INGRESS);
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

/* May the packet enter? Global: see packet_parse. */
__noinline int enter_endpoint(struct __sk_buff *skb, struct packet *packet, const struct endpoint *self,
			      struct outcome *outcome)
{
	struct endpoint *sender;
	struct party *party;
	struct flow_key key = {};
	struct flow flow = {};
	int error;

	if (!packet || !outcome || !endpoint_is_ready(self))
		return -REASON_ENDPOINT_NOT_READY;
	/* The node may ask its own neighbours. */
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return skb->ingress_ifindex ? -REASON_NEIGHBOUR_IGNORED : REASON_FORWARDED_ENDPOINT;
	error = packet_parse(skb, packet, &key, skb->protocol, ETH_HLEN);
	if (error)
		return error;
	if (neighbour_is_discovery(packet) && !skb->ingress_ifindex)
		return REASON_FORWARDED_ENDPOINT;
	if (address_is_multicast(&packet->destination))
		return -REASON_MULTICAST;
	error = sender_of(skb, packet, &sender);
	if (error)
		return error;
	outcome->sender_port = proxy_sender(skb);
	key.proxied = !!outcome->sender_port;
	error = related_find(skb, packet, &key, &flow);
	if (error < 0)
		return error;
	if (proxy_concerns(skb, packet, &key, &flow, outcome))
		return outcome->proxy ? REASON_FORWARDED_PROXY : REASON_FORWARDED_ENDPOINT;
	if (error) {
		/* Packets between endpoints of this node pass no router; only the node itself tells of them. */
		sender = endpoint_of_address(&packet->source);
		if (sender && skb->ingress_ifindex)
			return -REASON_ICMP_MALFORMED;
	}
	outcome->limited = rate_is_limited(self, DIRECTION_INGRESS);
	party = &outcome->party[DIRECTION_INGRESS];
	party_set(party, packet, DIRECTION_INGRESS, flow.reply, sender);
	if (!flow.reply && !packet->related) {
		if (skb->ingress_ifindex)
			party->forwarded = 1;
		else if (!outcome->sender_port)
			party_is_node(party);
		if (sender && skb->ingress_ifindex) {
			party->routed = 1;
			if (conntrack_is_astray(&flow, CONNTRACK_ROUTED))
				flow.entry = (void *)0;
		}
	}
	error = flow_judge(packet, &key, &flow, (void *)0, self, outcome, proxy_came(skb));
	if (error)
		return error;
	outcome->passed = 1;
	return REASON_FORWARDED_ENDPOINT;
}

SEC("tc")
int to_endpoint(struct __sk_buff *skb)
{
	struct endpoint *self = self_row(skb);
	struct outcome outcome = {};
	struct packet packet = {};
	int answer, error;

	self_count(DIRECTION_INGRESS);
	answer = nat_answer(skb);
	if (!answer)
		answer = enter_endpoint(skb, &packet, self, &outcome);
	/* A proxy receives it; the endpoint is asked about what the proxy sends on. */
	if (config_redirect && outcome.proxy && answer >= 0) {
		if (outcome.proxy == PROXY_TOLD)
			answer = tell_receiver(skb, &packet, answer);
		else if (!(error = proxy_turn(skb, &packet, &outcome)))
			return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
		else
			answer = error;
	}
	if (self && outcome.passed && hook_slots()) {
		error = hook_judge(skb, &packet, self, &outcome.party[DIRECTION_INGRESS], &outcome);
		answer = error ? error : answer;
	}
	if (outcome.limited)
		answer = rate_judge(skb, answer, 0, skb->ifindex - config_interface_base + 1);
	return finish(skb, &packet, &outcome, answer, DIRECTION_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
