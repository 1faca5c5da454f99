"""What is carried from one segment to the next?"""
