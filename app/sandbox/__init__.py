"""The provider sandbox: speaks the providers' own protocols to their official clients, and keeps what it accepted."""
