"""How the shipped base model is made: copying first, then reading, then language.

Nothing here sees a dialogue together with its note: turning one into the other is what QLoRA must
teach.
"""
