"""Tests of deploy/ and docker-compose.yml."""
