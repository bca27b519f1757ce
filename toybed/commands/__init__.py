"""What the commands of the command line do and print, each in a module; the command line itself is in ``cli``."""
