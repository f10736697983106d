"""A scenario with policy on both sides: ranges, exceptions, denials, ICMP, the host and the world."""

SCENARIO = """\
apiVersion: kinety.io/v1alpha1
kind: Scenario
endpoints:
  - {name: web, labels: {app: web}}
  - {name: db, labels: {app: db}}
policies:
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: {name: web-out}
    spec:
      endpointSelector: {matchLabels: {app: web}}
      egress:
        - toEndpoints: [{matchLabels: {app: db}}]
          toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
        - toCIDRSet: [{cidr: 198.51.100.0/24, except: [198.51.100.128/25]}]
        - toEntities: [world-ipv6]
      egressDeny:
        - toCIDR: ["2001:db8:bad::/48"]
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: {name: db-in}
    spec:
      endpointSelector: {matchLabels: {app: db}}
      ingress:
        - fromEndpoints: [{matchLabels: {app: web}}]
          icmps: [{fields: [{family: IPv4, type: 8}]}]
        - fromEndpoints: [{matchLabels: {app: web}}]
          toPorts: [{ports: [{port: "5400", endPort: 5500, protocol: TCP}]}]
        - fromCIDR: [203.0.113.0/24, "2001:db8:77::/64"]
probes:
  - {from: web, to: db, port: 5432, expect: allow}
  - {from: web, to: db, port: 5431, expect: deny}
  - {from: web, to: db, protocol: ICMP, expect: deny}
  - {from: web, to: 198.51.100.1, port: 9, protocol: UDP, expect: allow}
  - {from: web, to: 198.51.100.200, port: 9, protocol: UDP, expect: deny}
  - {from: web, to: "2001:db8::5", port: 9, protocol: SCTP, expect: allow}
  - {from: web, to: "2001:db8:bad::5", port: 9, protocol: UDP, expect: deny}
  - {from: host, to: db, port: 1, expect: allow}
  - {from: world, to: db, port: 5432, expect: deny}
  - {from: db, to: web, port: 1, expect: allow}
  - {from: 203.0.113.7, to: db, port: 7, protocol: UDP, expect: allow}
  - {from: 203.0.114.7, to: db, port: 7, protocol: UDP, expect: deny}
  - {from: "2001:db8:77::7", to: db, protocol: ICMPv6, expect: allow}
  - {from: "2001:db8:78::7", to: db, port: 7, expect: deny}
  - {from: db, to: host, protocol: ICMP, expect: allow}
"""
