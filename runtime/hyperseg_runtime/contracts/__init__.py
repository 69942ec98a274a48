"""What passes between the rooms of the runtime: graph contracts, number formats, requests, results."""
