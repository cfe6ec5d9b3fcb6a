"""What a profile's file may say of each stage: a section of it, a module here, by the stage's name.

Apart from the stages, so that settings are checked in a second, without torch.
"""
