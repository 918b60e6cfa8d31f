"""The planner, the control core and the policies that run live, under simulated time and over simulated radio."""
