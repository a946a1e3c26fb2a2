"""One module per published method; nobody imports them, the command line finds them by name."""
