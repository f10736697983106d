/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Judging: may this packet pass, as far as one endpoint is concerned?
 *
 * A flow keeps each endpoint's verdict together with what it depended on: the endpoint's
 * epoch and the identity at the other end. While both are as they were, the verdict holds
 * and nothing is looked up. Where the other end is no endpoint of this node, its identity
 * can only have changed if the ipcache's generation has; so that is compared first.
 *
 * A shadow rule set is asked when a decision is made, and afterwards only about flows of
 * which it said something else: what it costs is paid by endpoints that have one.
 */
#ifndef KINETY_LIB_JUDGE_H
#define KINETY_LIB_JUDGE_H

#include "lib/conntrack.h"
#include "lib/event.h"
#include "lib/identity.h"
#include "lib/policy.h"
#include "lib/shadow.h"

/* decision.flags: the opener was the node itself, known by where the packet came from. */
#define DECISION_FROM_NODE 1
/* decision.flags: the shadow rule set disagreed, so each packet is counted. */
#define DECISION_SHADOWED 2

/* One endpoint's part in a packet. */
struct party {
	struct endpoint *endpoint;
	const struct endpoint *peer;     /* the other end, when it is an endpoint of this node */
	const struct address *address;   /* of the other end */
	__u8 direction;                  /* enum direction, of the flow */
	__u8 from_node;                  /* the other end is the node itself */
	__u8 forwarded;                  /* the other end opened the flow through the node's stack */
};

/* What allowed a packet, for filters behind the verdict (lib/hook.h). */
struct judged {
	__u32 remote_identity;
	__u32 rule;
};

/* What decided last, for the event that tells of a drop. */
struct outcome {
	const struct endpoint *endpoint;
	__u32 remote_identity;
	__u32 rule;
	__u32 hooks;                     /* slots with a filter; the rest is only written when there are */
	__u8 direction;
	__u8 hook;                       /* slot of the filter that dropped, plus one */
	__u8 passed;                     /* judged and allowed: filters are to be asked */
	__u8 reply;
	struct judged judged[DIRECTION_COUNT]; /* by the packet's direction, not the flow's */
};

/* Who is at the other end's address. What was forwarded is not the node's, whatever its source says. */
static __always_inline __u32 party_address_identity(const struct party *party)
{
	__u32 identity = identity_of_address(party->address);

	return party->forwarded && identity == IDENTITY_HOST ? identity_world(party->address) : identity;
}

static __always_inline __u32 party_identity(const struct packet *packet, const struct party *party)
{
	if (party->from_node)
		return IDENTITY_HOST;
	return party->peer ? endpoint_identity(party->peer, packet->ipv6) : party_address_identity(party);
}

/* Whether a kept decision still stands. */
static __always_inline _Bool decision_holds(const struct packet *packet, struct decision *kept,
					    const struct party *party, __u32 epoch)
{
	__u32 generation;

	if (kept->epoch != epoch)
		return 0;
	if (kept->flags & DECISION_FROM_NODE)
		return 1;
	if (party->peer)
		return kept->remote_identity == endpoint_identity(party->peer, packet->ipv6);
	if (party->from_node)
		return kept->remote_identity == IDENTITY_HOST;
	generation = identity_generation();
	/* 0: the other end was an endpoint of this node when it was judged. */
	if (kept->generation && kept->generation == generation)
		return 1;
	if (kept->remote_identity != party_address_identity(party))
		return 0;
	kept->generation = generation;
	return 1;
}

/*
 * Replace a kept decision. Another CPU may be reading it: an epoch of 0 never holds, so a
 * reader sees the old decision, none, or the new one.
 */
static __always_inline void decision_keep(struct decision *kept, const struct decision *fresh)
{
	*(volatile __u32 *)&kept->epoch = 0;
	kept->remote_identity = fresh->remote_identity;
	kept->generation = fresh->generation;
	kept->rule = fresh->rule;
	kept->proxy_port = fresh->proxy_port;
	*(volatile __u8 *)&kept->verdict = fresh->verdict;
	kept->flags = fresh->flags;
	barrier();
	*(volatile __u32 *)&kept->epoch = fresh->epoch;
}

/* Tell of a decision. A function of its own, because it is rare and stack is dear (see lib/hook.h). */
static __noinline void decision_tell(const struct packet *packet, const struct endpoint *endpoint,
				     const struct decision *decision, __u8 direction, __u8 kind)
{
	struct occasion occasion = {
		.remote_identity = decision->remote_identity,
		.rule = decision->rule,
		.kind = kind,
		.direction = direction,
		.verdict = decision->verdict,
	};

	event_emit(packet, endpoint, &occasion);
}

/* Whether the endpoint has a shadow rule set that disagrees with a decision; counts and tells of it. */
static __always_inline _Bool party_shadow(const struct packet *packet, const struct party *party,
					  const struct decision *decision, __u16 port, __u32 begins)
{
	__u32 way = party->direction & 1;

	if (!config_shadow || !*(volatile __u32 *)&party->endpoint->shadow_rule_set[way])
		return 0;
	return shadow_judge(packet, party->endpoint, party->address, decision,
			    port | way << SHADOW_WAY | begins << SHADOW_BEGINS);
}

/* The epoch is read before the rule set: user space writes them the other way round. */
static __always_inline void decision_make(const struct packet *packet, const struct party *party,
					  struct decision *fresh, __u32 epoch, __u16 port)
{
	struct rule_set_entry verdict = {};
	__u32 slot;

	fresh->epoch = epoch;
	fresh->generation = party->peer || party->from_node ? 0 : identity_generation();
	fresh->remote_identity = party_identity(packet, party);
	slot = *(volatile __u32 *)&party->endpoint->rule_set[party->direction & 1];
	policy_lookup(slot, fresh->remote_identity, packet->protocol, port, &verdict);
	fresh->rule = verdict.rule;
	fresh->proxy_port = verdict.proxy_port;
	fresh->verdict = verdict.verdict;
	fresh->flags = party->from_node ? DECISION_FROM_NODE : 0;
}

/* The port that a flow is judged by: the opened end's, or the type of an ICMP message. */
static __always_inline __u16 flow_port(const struct packet *packet, const struct flow *flow)
{
	if (packet_is_icmp(packet)) {
		if (packet->untracked)
			return packet->icmp_type;
		return packet->ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
	}
	return flow->reply ? bpf_ntohs(packet->source_port) : bpf_ntohs(packet->destination_port);
}

/* A verdict as a reason; counts the rule that decided. */
static __always_inline int outcome_set(struct outcome *outcome, const struct party *party,
				       const struct packet *packet, const struct flow *flow, __u32 identity,
				       __u32 rule, __u8 verdict)
{
	struct judged *judged = &outcome->judged[(party->direction ^ flow->reply) & 1];

	rule_count(rule, packet->length);
	judged->remote_identity = identity;
	judged->rule = rule;
	outcome->reply = flow->reply;
	outcome->passed = 1;
	if (verdict == VERDICT_ALLOW)
		return 0;
	outcome->endpoint = party->endpoint;
	outcome->remote_identity = identity;
	outcome->rule = rule;
	outcome->direction = party->direction;
	return verdict == VERDICT_REDIRECT ? -REASON_PROXY_UNAVAILABLE : -REASON_POLICY_DENIED;
}

/*
 * 0 when the party lets the packet pass, else a negative reason. `fresh` receives the
 * decision when it had to be made; with an entry it is kept there.
 */
static __always_inline int party_judge(const struct packet *packet, const struct flow *flow,
				       const struct party *party, struct decision *fresh,
				       struct outcome *outcome)
{
	__u32 epoch = *(volatile __u32 *)&party->endpoint->epoch;
	struct decision *kept = flow->entry ? &flow->entry->decision[party->direction & 1] : (void *)0;
	_Bool differed = kept && kept->epoch && (kept->flags & DECISION_SHADOWED);
	__u16 port;

	if (kept && decision_holds(packet, kept, party, epoch)) {
		if (differed)
			party_shadow(packet, party, kept, flow_port(packet, flow), 0);
		return outcome_set(outcome, party, packet, flow, kept->remote_identity, kept->rule, kept->verdict);
	}
	port = flow_port(packet, flow);
	decision_make(packet, party, fresh, epoch, port);
	if (party_shadow(packet, party, fresh, port, !differed))
		fresh->flags |= DECISION_SHADOWED;
	if (kept) {
		if (kept->epoch && kept->verdict != fresh->verdict)
			decision_tell(packet, party->endpoint, fresh, party->direction, EVENT_VERDICT_CHANGE);
		decision_keep(kept, fresh);
	}
	return outcome_set(outcome, party, packet, flow, fresh->remote_identity, fresh->rule, fresh->verdict);
}

static __always_inline void party_announce(const struct packet *packet, const struct party *party,
					   const struct decision *fresh)
{
	if (config_event_level == EVENT_LEVEL_FLOWS)
		decision_tell(packet, party->endpoint, fresh, party->direction, EVENT_NEW_FLOW);
}

#endif
