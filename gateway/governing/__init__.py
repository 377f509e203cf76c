"""What one worker does of the procedure of governed rollbacks: the clerk who drives records, and the steps' deeds."""
