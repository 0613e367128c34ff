"""What flows use of Argo, in the modules where Metaflow has it."""
