"""Speaking to providers. base: the protocol; native: OpenAI's wire over HTTP/1.1; simulated: scripted."""
