"""MediSum: fine-tune Llama-3 with QLoRA to turn doctor-patient dialogue into SOAP notes.

The notebooks tell the story; this package holds what must be right.
"""

__version__ = "0.1.0"
