"""The numbers behind the figures: what a chapter shows, computed. No figure is drawn here."""
