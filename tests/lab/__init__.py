"""The real fleet on one machine: sshd, PM2 and HAProxy, shared by the demo and the tests."""
