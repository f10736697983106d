/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Why a packet went where it went. The sentence is what `kinety monitor` and the
 * reference page print. Numbers are part of the contract: never reuse one.
 */
#ifndef KINETY_ABI_REASONS_H
#define KINETY_ABI_REASONS_H

/* REASON(name, number, sentence) */
#define REASONS(REASON)                                                                          \
	REASON(FORWARDED_LOCAL, 0, "Delivered to an endpoint of this node")                      \
	REASON(FORWARDED_STACK, 1, "Handed to the node's network stack")                         \
	REASON(FORWARDED_ENDPOINT, 2, "Delivered from the node's network stack to the endpoint") \
	REASON(ANSWERED, 3, "Answered by the program (ARP or neighbour discovery)")              \
	REASON(HOST_ALLOWED, 4, "Sent or received by the node itself, as its policy allows")      \
	REASON(HOST_EXEMPT, 5, "Sent or received by the node itself, and no matter of policy")   \
	REASON(FORWARDED_PROXY, 6, "Led to the proxy that policy asks for, or back to it")       \
	REASON(POLICY_DENIED, 16, "Denied by policy")                                            \
	REASON(ENDPOINT_NOT_READY, 17, "The interface is no endpoint, or its policy is not in place yet") \
	REASON(SOURCE_ADDRESS, 18, "The source address is not the endpoint's")                   \
	REASON(SOURCE_SPOOFED, 19, "The source is an endpoint of this node, but came another way") \
	REASON(PACKET_TRUNCATED, 20, "The packet ends inside a header")                          \
	REASON(PROTOCOL_UNSUPPORTED, 21, "Neither IPv4, IPv6 nor ARP")                           \
	REASON(EXTENSION_HEADERS, 22, "Too many or malformed IPv6 extension headers")            \
	REASON(FRAGMENT_UNKNOWN, 23, "A fragment whose first fragment was not seen")             \
	REASON(FRAGMENT_MALFORMED, 24, "A fragment too short to hold its ports, or overlapping them") \
	REASON(MULTICAST, 25, "Multicast and broadcast are not forwarded")                       \
	REASON(DESTINATION_NOT_READY, 26, "The receiving endpoint's policy is not in place yet") \
	REASON(CONNTRACK_FULL, 27, "No room for a new flow")                                     \
	REASON(ICMP_MALFORMED, 28, "An ICMP error that does not match the flow it quotes")       \
	REASON(PACKET_REWRITE, 29, "The kernel refused to rewrite the packet")                   \
	REASON(IP_VERSION_DISABLED, 30, "This IP version is switched off on the node")           \
	REASON(NEIGHBOUR_IGNORED, 31, "ARP or neighbour discovery that needs no answer")         \
	REASON(MAPPED_ADDRESS, 32, "An IPv6 packet with an IPv4-mapped address")                 \
	REASON(PROXY_UNAVAILABLE, 33, "Policy sends the flow to a proxy and there is none")      \
	REASON(HOOK_DENIED, 34, "Dropped by a filter of the node's operator")                    \
	REASON(FRAGMENTS_DISABLED, 35, "Fragments are switched off on the node")                 \
	REASON(LOOPBACK, 36, "The destination is a loopback address, which is nobody's on a network") \
	REASON(RATE_EXCEEDED, 37, "Faster than the endpoint's bandwidth; counted, and no event") \
	REASON(PROXY_PORT_TAKEN, 38, "A proxy and its client would have flows with the same ends and ports") \
	REASON(PROXY_BYPASSED, 39, "An answer that did not come from the proxy through which its flow goes") \
	REASON(TRANSLATION_LOST, 40, "A proxy answers, and it is not known any more whom its client had asked")

#define REASON_ENUMERATOR(name, number, sentence) REASON_##name = number,
enum reason { REASONS(REASON_ENUMERATOR) REASON_COUNT = 64, };
#undef REASON_ENUMERATOR

#endif
