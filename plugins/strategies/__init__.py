"""How a search chooses candidates, and finds out what they are worth."""
