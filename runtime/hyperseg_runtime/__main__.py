"""`python -m hyperseg_runtime`: the command `hyperseg-trt` of this interpreter, wherever its script lies."""

from hyperseg_runtime.cli.app import main

if __name__ == "__main__":
    main()
