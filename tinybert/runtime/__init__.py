"""What everything stands on: errors with a cure, files written whole, processes, precision."""
