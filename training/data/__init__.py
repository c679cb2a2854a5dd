"""Images with what is known about them (class, camera): reading, ordering, loading, generating, converting."""
