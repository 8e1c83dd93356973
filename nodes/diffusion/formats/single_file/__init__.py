"""How one model is named in two layouts: folders of diffusers and single files of LDM and sgm."""
