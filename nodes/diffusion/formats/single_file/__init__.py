"""Models in one file, in the layouts of LDM and sgm, and as folders of diffusers."""
