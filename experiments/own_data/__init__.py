"""Own pictures in every layout and format give the same net, the same maps and the same scores."""
