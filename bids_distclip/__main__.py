"""Run the BIDS App with ``python -m bids_distclip``."""

from bids_distclip.cli.app import main

raise SystemExit(main())
