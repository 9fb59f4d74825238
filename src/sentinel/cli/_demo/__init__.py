"""What `sentinel demo` plays: a real service, a small shop that it protects, and who visits the shop."""
