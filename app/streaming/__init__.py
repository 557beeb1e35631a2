"""The checkpointed runner that every role with tables runs on. The only package that knows Faust's insides."""
