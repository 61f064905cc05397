"""Files are written whole or not at all; JSON from elsewhere is read strictly."""
