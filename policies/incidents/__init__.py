"""What happens elsewhere (signals, complaints, drift), the policies that it meets, and who does what they want."""
