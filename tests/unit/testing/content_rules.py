"""A scenario with rules about content at both ends, and every kind of probe about it."""

CONTENT = """\
apiVersion: kinety.io/v1alpha1
kind: Scenario
names: {198.51.100.7: [api.example.com]}
endpoints:
  - {name: client, labels: {app: client}}
  - {name: web, labels: {app: web}, listens: [{port: 80}, {port: 81}]}
policies:
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: {name: web-in}
    spec:
      endpointSelector: {matchLabels: {app: web}}
      ingress:
        - fromEndpoints: [{matchLabels: {app: client}}]
          toPorts:
            - ports: [{port: "80", protocol: TCP}]
              rules:
                http:
                  - {method: GET, path: "/v1/.*"}
                  - {method: PUT, headerMatches: [{name: X-Id, value: "7"}]}
                  - {method: POST, host: "api[.]example"}
            - ports: [{port: "443", protocol: TCP}]
              serverNames: [web.example]
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: {name: client-out}
    spec:
      endpointSelector: {matchLabels: {app: client}}
      egress:
        - toEndpoints: [{matchLabels: {app: web}}]
          toPorts:
            - ports: [{port: "80", protocol: TCP}]
              rules: {http: [{path: "/v.*"}]}
            - ports: [{port: "443", protocol: TCP}]
        - toEntities: [world]
          toPorts:
            - ports: [{port: "53", protocol: ANY}]
              rules: {dns: [{matchPattern: "*.example.com"}]}
probes:
  - {from: client, to: web, port: 80, http: {path: "/v1/x?y=1"}, expect: allow}
  - {from: client, to: web, port: 80, http: {path: /v2/x}, expect: http-403}
  - {from: client, to: web, port: 80, http: {method: HEAD, path: /x}, expect: http-403}
  - {from: client, to: web, port: 80, http: {method: PUT, path: /v, headers: {x-iD: "7"}}, expect: allow}
  - {from: client, to: web, port: 80, http: {method: PUT, path: /v, headers: {x-id: "8"}}, expect: http-403}
  - {from: client, to: web, port: 80, http: {method: POST, path: /v, host: api.example}, expect: allow}
  - {from: client, to: web, port: 80, http: {method: POST, path: /v, host: apixexample}, expect: http-403}
  - {from: client, to: web, port: 443, tls: {serverName: web.example}, expect: allow}
  - {from: client, to: web, port: 443, tls: {serverName: other.example}, expect: reset}
  - {from: client, to: world, dns: {name: api.example.com}, expect: allow}
  - {from: client, to: world, dns: {name: api.example.org}, expect: dns-refused}
  - {from: client, to: world, protocol: TCP, dns: {name: example.com}, expect: dns-refused}
  - {from: client, to: world, port: 80, http: {}, expect: deny}
  - {from: world, to: web, port: 80, http: {path: /v1/x}, expect: deny}
  - {from: host, to: web, port: 80, http: {path: /anything}, expect: allow}
"""
