"""What is compared: a case is one piece of work, and knows how to set it up for each contestant."""
