"""`python -m belajarid_recon` is the command `belajarid-recon`."""

from belajarid_recon.cli.main import main

if __name__ == "__main__":
    main()
