"""Bases conditioned on a CLIP image embedding: image variations and unCLIP.

They have no `facts` of their own, because they are no family: their UNets and VAEs are those of SD 1.x and SD 2.x, whose
facts name their parts, and no folder or file is recognised as one. LoadImageVariation alone opens them, from folders.
"""
