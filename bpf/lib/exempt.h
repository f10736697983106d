/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What policy has no say in, because without it the node has no network that policy could be about:
 * finding neighbours, routers and addresses, and joining multicast groups. As RFC 4890, 4.4, advises.
 */
#ifndef KINETY_LIB_EXEMPT_H
#define KINETY_LIB_EXEMPT_H

#include "lib/packet.h"

#define ICMPV6_MLD_QUERY 130
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMPV6_INVERSE_SOLICITATION 141
#define ICMPV6_MLD2_REPORT 143
#define ICMPV6_CERTIFICATION_SOLICITATION 148
#define ICMPV6_CERTIFICATION_ADVERTISEMENT 149
#define ICMPV6_ROUTER_MULTICAST_FIRST 151
#define ICMPV6_ROUTER_MULTICAST_LAST 153
#define DHCP_SERVER bpf_htons(67)
#define DHCP_CLIENT bpf_htons(68)
#define DHCPV6_CLIENT bpf_htons(546)
#define DHCPV6_SERVER bpf_htons(547)

/* MLD, router and neighbour discovery (redirects are no discovery), and what secures them. */
static __always_inline _Bool exempt_icmpv6(__u8 type)
{
	return (type >= ICMPV6_MLD_QUERY && type <= ICMPV6_NEIGHBOUR_ADVERTISEMENT) ||
	       (type >= ICMPV6_INVERSE_SOLICITATION && type <= ICMPV6_MLD2_REPORT) ||
	       type == ICMPV6_CERTIFICATION_SOLICITATION || type == ICMPV6_CERTIFICATION_ADVERTISEMENT ||
	       (type >= ICMPV6_ROUTER_MULTICAST_FIRST && type <= ICMPV6_ROUTER_MULTICAST_LAST);
}

/* The node as a client, which speaks to servers from the client's port and the other way round. */
static __always_inline _Bool exempt_dhcp(const struct packet *packet, __be16 client, __be16 server)
{
	if (packet->ipv6)
		return client == DHCPV6_CLIENT && server == DHCPV6_SERVER;
	return client == DHCP_CLIENT && server == DHCP_SERVER;
}

/* Whether a packet that the node sends (egress) or receives passes whatever policy says. */
static __always_inline _Bool exempt(const struct packet *packet, __u32 direction)
{
	if (packet->fragment)
		return 0;
	if (packet_is_icmp(packet))
		return packet->ipv6 && exempt_icmpv6(packet->icmp_type);
	if (packet->protocol == IPPROTO_IGMP)
		return !packet->ipv6;
	if (packet->protocol != IPPROTO_UDP)
		return 0;
	if (direction == DIRECTION_EGRESS)
		return exempt_dhcp(packet, packet->source_port, packet->destination_port);
	return exempt_dhcp(packet, packet->destination_port, packet->source_port);
}

#endif
