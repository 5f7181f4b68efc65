"""What more would buy: fitted relations between what is spent and what is got. Arrays in, numbers out."""
