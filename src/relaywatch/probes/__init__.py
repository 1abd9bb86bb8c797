"""One file, or one folder, per probe; none imports another; found by name, registered nowhere."""
