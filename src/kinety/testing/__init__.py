"""What policies and Kinety itself are tested with: scenarios, judges, a lab of network namespaces."""
