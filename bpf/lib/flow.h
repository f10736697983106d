/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the endpoints of this node say about a packet together: the one that sends and the one
 * that receives, either of them null when it is not here or has been asked before.
 */
#ifndef KINETY_LIB_FLOW_H
#define KINETY_LIB_FLOW_H

#include "lib/conntrack.h"
#include "lib/judge.h"
#include "lib/redirect.h"

static __always_inline int flow_decide(const struct packet *packet, const struct endpoint *endpoint,
				       struct decision *fresh, struct party *party, struct outcome *outcome)
{
	decision_renew(packet, endpoint, fresh, party);
	return party_obey(packet, fresh, party, outcome);
}

/* What the entry of a new flow says of the way it goes: see conntrack_open. */
static __always_inline __u32 flow_course(const struct outcome *outcome)
{
	__u32 routed = outcome->party[DIRECTION_INGRESS].routed ? CONNTRACK_ROUTED : 0;

	if (outcome->proxy_port)
		return routed | CONNTRACK_REDIRECTED | (__u32)outcome->proxy_port << 16;
	return routed | (__u32)outcome->sender_port << 16;
}

/*
 * A packet of no known flow, which is entered when every endpoint allows it. Global: what can
 * happen here is far more than what happens to a known flow, and nobody need know what did.
 */
__noinline int flow_open(const struct packet *packet, struct flow_key *key, const struct endpoint *sender,
			 const struct endpoint *receiver, struct outcome *outcome)
{
	struct decision egress = {}, ingress = {};
	int error = 0;

	if (!packet || !key || !outcome)
		return -REASON_POLICY_DENIED;
	/* On an interface with host ports the stack would take it for the node's (route_localnet). */
	if (sender && address_is_loopback(&packet->destination))
		return -REASON_LOOPBACK;
	if (sender)
		error = flow_decide(packet, sender, &egress, &outcome->party[DIRECTION_EGRESS], outcome);
	if (!error && receiver)
		error = flow_decide(packet, receiver, &ingress, &outcome->party[DIRECTION_INGRESS], outcome);
	if (error || packet->untracked)
		return error;
	error = redirect_open(packet, key, outcome);
	if (error)
		return error < 0 ? error : 0;
	error = conntrack_open(packet, key, &egress, &ingress, flow_course(outcome));
	if (error || config_event_level != EVENT_LEVEL_FLOWS)
		return error;
	if (sender)
		decision_tell(packet, sender, &egress, DIRECTION_EGRESS, EVENT_NEW_FLOW);
	if (receiver)
		decision_tell(packet, receiver, &ingress, DIRECTION_INGRESS, EVENT_NEW_FLOW);
	return 0;
}

/* 0 when every endpoint lets the packet pass, else a negative reason. `how` it came: lib/redirect.h. */
static __always_inline int flow_judge(const struct packet *packet, struct flow_key *key,
				      const struct flow *flow, const struct endpoint *sender,
				      const struct endpoint *receiver, struct outcome *outcome, __u32 how)
{
	struct conntrack_entry *entry = flow->entry;
	int error = 0;

	if (!entry)
		return flow_open(packet, key, sender, receiver, outcome);
	if (sender)
		error = party_judge(packet, sender, entry, &outcome->party[DIRECTION_EGRESS], outcome);
	if (!error && receiver)
		error = party_judge(packet, receiver, entry, &outcome->party[DIRECTION_INGRESS], outcome);
	if (!error && config_redirect && (outcome->proxy_port || entry->flags & CONNTRACK_REDIRECTED))
		error = redirect_follow(packet, entry, outcome, how | flow->reply);
	/* What is only to be reset is not the flow's. */
	if (!error && !packet->related && outcome->proxy != PROXY_RESET)
		conntrack_note(packet, flow);
	return error;
}

#endif
