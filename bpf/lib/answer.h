/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a program's answer comes to: a counter, an event for a drop, an action. */
#ifndef KINETY_LIB_ANSWER_H
#define KINETY_LIB_ANSWER_H

#include "lib/context.h"
#include "lib/event.h"
#include "lib/judge.h"
#include "lib/self.h"

/* Tell of a drop, in the name of the endpoint that decided. Global: see event_write. */
__noinline int drop_tell(context *ctx, const struct packet *packet, const struct outcome *outcome,
			 __u32 reason, __u32 direction)
{
	struct endpoint *endpoint = self_row(ctx);
	struct occasion occasion = {
		.kind = EVENT_DROP,
		.reason = reason,
		.direction = direction,
		.verdict = VERDICT_DENY,
	};

	/* Somebody who sends too fast would fill the ring with events of it. */
	if (!packet || !outcome || reason == REASON_RATE_EXCEEDED)
		return 0;
	if (outcome->denied) {
		const struct party *party = &outcome->party[(outcome->denied - 1) & 1];

		occasion.remote_identity = party->remote_identity;
		occasion.rule = party->rule;
		/* Policy decides about flows, a filter about packets. */
		occasion.direction = outcome->hook ? party->direction : party_direction(party);
		occasion.hook = outcome->hook;
		if (party->direction != direction)
			endpoint = endpoint_at(outcome->receiver - 1);
	}
	event_emit(packet, endpoint, &occasion);
	return 0;
}

/* A program's answer: count it, tell of a drop, and turn it into an action. */
static __always_inline int finish(context *ctx, const struct packet *packet,
				  const struct outcome *outcome, int answer, __u32 direction)
{
	__u32 reason = answer < 0 ? -answer : answer;

	reason_count(reason, direction, context_length(ctx) + CONTEXT_NETWORK);
	if (answer >= 0)
		return CONTEXT_PASS;
	drop_tell(ctx, packet, outcome, reason, direction);
	return CONTEXT_DROP;
}

#endif
